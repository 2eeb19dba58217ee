// Compiles: what the others could do if they had what they lack.

use vestibule::gateway::Pass;

fn once(pass: Pass, forward: impl Fn(Pass)) {
    forward(pass);
}

fn main() {}
