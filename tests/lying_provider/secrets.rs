//! What must stand in no log, whatever goes wrong.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::house::{House, with_field};
use crate::provider::{ACCESS_TOKEN, CLIENT_SECRET, Raw, State};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything down to the last word of every library is written; the sign-ins of other tests may stand between.
#[tokio::test(flavor = "multi_thread")]
async fn no_code_token_state_or_secret_stands_in_the_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let mut secrets = vec![
        ACCESS_TOKEN.to_owned(),
        CLIENT_SECRET.to_owned(),
        "s3cret%2F".to_owned(),
    ];
    for house in [House::open().await, House::implicit().await] {
        let lies: [fn(&mut State); 6] = [
            |_| {},
            |state| state.claim("nonce", json!("wrong")),
            |state| state.header(|header| header["kid"] = json!("unknown")),
            |state| state.claim("email", json!("(none)")),
            |state| state.token = Box::new(|_| Raw::new(400, "application/json", r#"{"error":"invalid_grant"}"#)),
            |state| state.token = Box::new(|token| Raw::new(500, "text/html", token)),
        ];
        for lie in lies {
            house.provider.change(|state| {
                state.be_honest();
                lie(state);
            });
            let mut browser = house.browser();
            let request = browser.begin("/page").await;
            let fields = house.provider.authorize(&request);
            secrets.extend(browser.jar.values().cloned());
            secrets.extend(
                request
                    .query_pairs()
                    .filter(|(name, _)| name == "nonce")
                    .map(|(_, value)| value.into_owned()),
            );
            for (name, value) in &fields {
                // A code of this provider is a short word; what counts of a token is its signature, of a state its secret.
                let secret = value.rsplit('.').next().unwrap().to_owned();
                secrets.extend(Some(secret).filter(|_| name != "code"));
            }
            let tampered = with_field(&fields, "error_description", Some("text of the provider"));
            browser.bring(&tampered).await;
            secrets.extend(browser.jar.values().cloned());
            browser.get("/page").await;
            browser.get("/logout").await;
        }
    }
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(
        log.contains("a sign-in was not taken") && log.contains("sign_in"),
        "the log is not heard"
    );
    assert!(secrets.len() > 40);
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} stands in the log");
    }
}
