// Refused: E0382 (use of a moved value).

use vestibule::gateway::Pass;

fn twice(pass: Pass, forward: impl Fn(Pass)) {
    forward(pass);
    forward(pass);
}

fn main() {}
