// Refused: E0451 (fields of another module).

use std::sync::Arc;

use vestibule::gateway::{Permitted, StrictRequest};
use vestibule::session::Session;

fn forge(request: StrictRequest, session: Arc<Session>) -> Permitted {
    Permitted { request, session, has_our_cookies: false }
}

fn main() {}
