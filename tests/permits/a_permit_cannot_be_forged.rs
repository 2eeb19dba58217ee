// Refused: E0451 (fields of another module).

use std::sync::Arc;

use vestibule::gateway::{Permitted, StrictRequest};
use vestibule::session::Session;

fn forge(request: Box<StrictRequest>, session: Arc<Session>) -> Permitted {
    Permitted { request, session, cookies: unreachable!() }
}

fn main() {}
