//! The little of a web server that the demo's provider and app need.

use std::convert::Infallible;

use askama::Template;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What both answer.
pub type Answer = Response<Full<Bytes>>;

/// Serves for as long as the process lives.
pub async fn serve<F, W>(listener: TcpListener, handle: F)
where
    F: Fn(Request<Incoming>) -> W + Clone + Send + 'static,
    W: Future<Output = Answer> + Send,
{
    while let Ok((stream, _)) = listener.accept().await {
        let handle = handle.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = handle(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

/// A page from a template. Scripts and styles come from the same origin, as files.
pub fn page(status: StatusCode, page: &impl Template) -> Answer {
    let mut answer = text(status, "text/html; charset=utf-8", page.render().unwrap_or_default());
    answer.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
             frame-ancestors 'none'",
        ),
    );
    answer
}

/// An answer that is kept by nobody.
pub fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Sends the browser elsewhere, by GET.
pub fn see_other(to: &str) -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "text/plain", "");
    if let Ok(to) = HeaderValue::from_str(to) {
        answer.headers_mut().insert(LOCATION, to);
    }
    answer
}

/// The fields of a form, from a query or a body.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads them.
    pub fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// Of a request: of its query, or of its body where it is a POST.
    pub async fn of(request: Request<Incoming>) -> Self {
        if request.method() != http::Method::POST {
            return Self::parse(request.uri().query().unwrap_or_default().as_bytes());
        }
        match Limited::new(request.into_body(), 64 * 1024).collect().await {
            Ok(body) => Self::parse(&body.to_bytes()),
            Err(_) => Self::default(),
        }
    }

    /// The value of a field; empty where it is not there.
    pub fn value(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map_or("", |(_, value)| value)
    }
}
