// Refused: E0308 (mismatched types).

use vestibule::gateway::{Pass, StrictRequest};

fn skip_the_gate(request: StrictRequest) -> Pass {
    Pass::Permitted(request)
}

fn main() {}
