// Refused: E0451 (fields of another module).

use vestibule::gateway::{PublicRequest, StrictRequest};

fn forge(request: StrictRequest) -> PublicRequest {
    PublicRequest { request, session: None, has_our_cookies: false, bare: false }
}

fn main() {}
