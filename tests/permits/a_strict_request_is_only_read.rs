// Refused: cannot construct `StrictRequest` with struct literal syntax due to private fields

use http::Request;
use hyper::body::Incoming;
use vestibule::gateway::StrictRequest;

fn unread(request: Request<Incoming>) -> StrictRequest {
    let (parts, body) = request.into_parts();
    StrictRequest { parts, body }
}

fn main() {}
