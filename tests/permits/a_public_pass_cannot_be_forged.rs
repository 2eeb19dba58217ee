// Refused: E0451 (fields of another module).

use vestibule::gateway::{PublicRequest, StrictRequest};

fn forge(request: Box<StrictRequest>) -> PublicRequest {
    PublicRequest { request, session: None, cookies: unreachable!(), bare: false }
}

fn main() {}
