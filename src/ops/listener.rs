//! What is answered on the ops listener. It is never the public one: whoever reaches it may read everything here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::sign_in::ProviderState;
use crate::telemetry::{self, Metrics, Phase};

/// Connections at once: probes, scrapes and a few people.
const MOST_CONNECTIONS: usize = 64;
/// For a head, and for the next one on a connection that is kept.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// For a connection, whatever it does: nobody keeps one of the few places for good.
const LONGEST_CONNECTION: Duration = Duration::from_mins(5);
/// The store may be away this long: sessions in memory go on as long.
const STORE_AWAY_SECONDS: i64 = 60;

/// How the gateway is, at one moment.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// Where in its life it stands.
    pub phase: Phase,
    /// Seconds since the store last answered.
    pub store_away: i64,
    /// Live sessions in memory.
    pub sessions_known: usize,
    /// How the provider stands.
    pub provider: ProviderState,
    /// The JWKS document.
    pub jwks: Bytes,
}

/// Answers on the ops listener until `stop` fires. `look` says how the gateway is.
pub async fn serve<L>(listener: TcpListener, look: L, stop: CancellationToken)
where
    L: Fn() -> Vitals + Send + Sync + 'static,
{
    let look = Arc::new(look);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let look = Arc::clone(&look);
                    tokio::spawn(async move {
                        serve_connection(stream, look).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the ops listener could not accept a connection");
                    // Out of files or memory: others must finish first.
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop.cancelled() => {}
    }
}

async fn serve_connection(stream: TcpStream, look: Arc<impl Fn() -> Vitals + Send + Sync + 'static>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &look(), telemetry::metrics());
        async move { Ok::<_, Infallible>(answer.map(Full::new)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(LONGEST_CONNECTION, served).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an ops connection ended"),
    }
}

fn answer(method: &Method, path: &str, vitals: &Vitals, metrics: &Metrics) -> Response<Bytes> {
    let known = matches!(path, "/healthz" | "/readyz" | "/metrics" | "/.vestibule/jwks.json");
    if known && !matches!(*method, Method::GET | Method::HEAD) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => readiness(vitals),
        "/metrics" => {
            metrics.store_away_seconds.set(vitals.store_away);
            metrics
                .sessions_known
                .set(i64::try_from(vitals.sessions_known).unwrap_or(i64::MAX));
            metrics.provider(provider(&vitals.provider).0);
            respond(
                StatusCode::OK,
                Metrics::CONTENT_TYPE,
                "no-store",
                metrics.render().into(),
            )
        }
        "/.vestibule/jwks.json" => respond(
            StatusCode::OK,
            "application/jwk-set+json",
            "max-age=300",
            vitals.jwks.clone(),
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "here are /healthz, /readyz, /metrics and /.vestibule/jwks.json\n",
        ),
    }
}

/// Ready: serving, and the store has answered in the last minute. The provider is told, but does not count: who has a
/// session needs none.
fn readiness(vitals: &Vitals) -> Response<Bytes> {
    let store_is_away = vitals.store_away > STORE_AWAY_SECONDS;
    let ready = vitals.phase == Phase::Serving && !store_is_away;
    let (_, state, problem) = provider(&vitals.provider);
    let body = serde_json::json!({
        "ready": ready,
        "phase": vitals.phase.as_str(),
        "store": { "state": if store_is_away { "away" } else { "ok" }, "away_seconds": vitals.store_away },
        "provider": { "state": state, "problem": problem },
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    respond(status, "application/json", "no-store", format!("{body}\n").into())
}

fn provider(state: &ProviderState) -> (telemetry::Provider, &'static str, Option<&str>) {
    match state {
        ProviderState::None => (telemetry::Provider::None, "none", None),
        ProviderState::Unknown(why) => (telemetry::Provider::Unknown, "unknown", Some(why)),
        ProviderState::Known => (telemetry::Provider::Known, "known", None),
        ProviderState::Stale(why) => (telemetry::Provider::Stale, "stale", Some(why)),
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Bytes> {
    respond(
        status,
        "text/plain; charset=utf-8",
        "no-store",
        Bytes::from_static(text.as_bytes()),
    )
}

fn respond(status: StatusCode, media_type: &'static str, keep: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn vitals() -> Vitals {
        Vitals {
            phase: Phase::Serving,
            store_away: 0,
            sessions_known: 3,
            provider: ProviderState::Known,
            jwks: Bytes::from_static(b"{\"keys\":[]}"),
        }
    }

    fn asked(path: &str, vitals: &Vitals) -> Response<Bytes> {
        answer(&Method::GET, path, vitals, telemetry::metrics())
    }

    #[test]
    fn it_is_ready_only_while_it_serves_and_the_store_answers() {
        assert_eq!(asked("/readyz", &vitals()).status(), StatusCode::OK);
        assert_eq!(
            asked(
                "/readyz",
                &Vitals {
                    store_away: 60,
                    ..vitals()
                }
            )
            .status(),
            StatusCode::OK
        );
        for unready in [
            Vitals {
                phase: Phase::Starting,
                ..vitals()
            },
            Vitals {
                phase: Phase::Draining,
                ..vitals()
            },
            Vitals {
                store_away: 61,
                ..vitals()
            },
        ] {
            assert_eq!(
                asked("/readyz", &unready).status(),
                StatusCode::SERVICE_UNAVAILABLE,
                "{unready:?}"
            );
            assert_eq!(asked("/healthz", &unready).status(), StatusCode::OK, "{unready:?}");
        }
    }

    #[test]
    fn a_provider_that_is_away_is_told_and_does_not_make_it_unready() {
        let vitals = Vitals {
            provider: ProviderState::Unknown("connection refused".into()),
            ..vitals()
        };
        let answer = asked("/readyz", &vitals);
        assert_eq!(answer.status(), StatusCode::OK);
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(
            body["provider"],
            serde_json::json!({"state": "unknown", "problem": "connection refused"})
        );
        assert_eq!(body["ready"], true);
    }

    #[test]
    fn the_keys_are_there_as_on_the_public_listener() {
        let answer = asked("/.vestibule/jwks.json", &vitals());
        assert_eq!(answer.body(), &vitals().jwks);
        assert_eq!(answer.headers()[CACHE_CONTROL], "max-age=300");
    }

    #[test]
    fn metrics_tell_what_was_looked_at() {
        let metrics = asked("/metrics", &vitals());
        let text = std::str::from_utf8(metrics.body()).unwrap();
        assert!(text.contains("\nvestibule_sessions_known 3\n"), "{text}");
        assert!(
            text.contains("\nvestibule_provider_state{state=\"known\"} 1\n"),
            "{text}"
        );
    }

    #[test]
    fn there_is_nothing_else() {
        for path in [
            "/",
            "/metrics/",
            "//metrics",
            "/.vestibule/whoami",
            "/.vestibule/login",
            "/debug",
            "*",
        ] {
            assert_eq!(asked(path, &vitals()).status(), StatusCode::NOT_FOUND, "{path}");
        }
        let posted = answer(&Method::POST, "/metrics", &vitals(), telemetry::metrics());
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn the_listener_says_how_it_is_now_and_stops_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let now = Arc::new(Mutex::new(vitals()));
        let stop = CancellationToken::new();
        let look = Arc::clone(&now);
        let served = tokio::spawn(serve(listener, move || look.lock().unwrap().clone(), stop.clone()));

        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(get(&mut stream, "/readyz").await.starts_with("HTTP/1.1 200"));
        now.lock().unwrap().phase = Phase::Draining;
        assert!(get(&mut stream, "/readyz").await.starts_with("HTTP/1.1 503"));

        stop.cancel();
        timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    async fn get(stream: &mut TcpStream, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}
