//! The log, on standard error. Its filter can be changed while the gateway runs.

use std::fmt::{self, Write as _};
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::audit;
use crate::config::LogFormat;

/// Why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `VESTIBULE_LOG` is no filter.
    #[error("the log filter is not readable: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// There is a log already, or none any more.
    #[error("the log is set up already, or gone")]
    Gone,
}

/// Changes the filter of the running log.
#[derive(Clone, Debug)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

impl LogHandle {
    /// Filters by `directives` from now on.
    ///
    /// # Errors
    /// If they are not readable; then nothing changes.
    pub fn set_filter(&self, directives: &str) -> Result<(), LogError> {
        self.0.reload(filter(directives)?).map_err(|_| LogError::Gone)
    }
}

/// Begins the process's log.
///
/// # Errors
/// If `directives` are not readable, or there is a log already.
pub fn init(directives: &str, format: LogFormat) -> Result<LogHandle, LogError> {
    let (subscriber, handle) = subscriber(directives, format, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Gone)?;
    Ok(handle)
}

/// Whether `directives` can be read as a filter.
///
/// # Errors
/// If they can't.
pub fn check_filter(directives: &str) -> Result<(), LogError> {
    filter(directives).map(drop)
}

/// Audit events are told whatever the level is, unless their target is named.
fn filter(directives: &str) -> Result<EnvFilter, LogError> {
    Ok(EnvFilter::try_new(format!("{}=info,{directives}", audit::TARGET))?)
}

fn subscriber<W>(
    directives: &str,
    format: LogFormat,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogHandle), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(directives)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let layer: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Json => Box::new(
            layer
                .fmt_fields(JsonFields::new())
                .event_format(JsonLine(Format::default().json().flatten_event(true))),
        ),
        LogFormat::Text => Box::new(layer.event_format(TextLine(Format::default()))),
    };
    Ok((Registry::default().with(filter).with(layer), LogHandle(handle)))
}

/// One object a line; an audit event is an object of its own.
struct JsonLine(Format<Json>);

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        if let Some(object) = audit_object(event) {
            line.push_str("{\"timestamp\":\"");
            SystemTime.format_time(&mut Writer::new(&mut line))?;
            write!(line, "\",\"level\":\"INFO\",\"target\":\"{}\",", audit::TARGET)?;
            line.push_str(object.strip_prefix('{').unwrap_or(&object));
        } else {
            self.0.format_event(context, Writer::new(&mut line), event)?;
        }
        write_line(&mut writer, &line)
    }
}

/// For people. Whatever is in a value, an event is one line.
struct TextLine(Format<Full>);

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        if let Some(object) = audit_object(event) {
            SystemTime.format_time(&mut Writer::new(&mut line))?;
            write!(line, "  INFO {}: {object}", audit::TARGET)?;
        } else {
            self.0.format_event(context, Writer::new(&mut line), event)?;
        }
        write_line(&mut writer, &line)
    }
}

/// Whatever is in a value, an event is one line and does nothing to a terminal. What JSON left of control characters
/// stands in its strings, and may be written so there.
fn write_line(writer: &mut Writer<'_>, line: &str) -> fmt::Result {
    for character in line.trim_end_matches('\n').chars() {
        if character.is_control() {
            write!(writer, "\\u{:04x}", u32::from(character))?;
        } else {
            writer.write_char(character)?;
        }
    }
    writer.write_char('\n')
}

fn audit_object(event: &Event<'_>) -> Option<String> {
    struct Object(Option<String>);
    impl Visit for Object {
        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "object" {
                self.0 = Some(value.to_owned());
            }
        }

        fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
    }

    if event.metadata().target() != audit::TARGET {
        return None;
    }
    let mut object = Object(None);
    event.record(&mut object);
    object.0
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(directives: &str, format: LogFormat, what: impl FnOnce(&LogHandle)) -> String {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, handle) = subscriber(directives, format, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || what(&handle));
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    fn audited() {
        audit::Event::new(audit::Kind::SignIn, &audit::Actor::system())
            .about("user", "u_1", "")
            .detail("email", "a\n\"b")
            .tell();
    }

    #[test]
    fn an_audit_event_is_one_json_object_in_the_json_log() {
        let text = logged("info", LogFormat::Json, |_| audited());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["target"], &value["event"], &value["user"], &value["email"]),
            (&"audit".into(), &"sign_in".into(), &"u_1".into(), &"a\n\"b".into()),
            "{text}"
        );
        assert!(value["timestamp"].is_string());
    }

    #[test]
    fn an_audit_event_is_one_json_object_in_the_text_log() {
        let text = logged("info", LogFormat::Text, |_| audited());
        assert_eq!(text.lines().count(), 1);
        let (_, object) = text.split_once(" INFO audit: ").unwrap();
        let value: serde_json::Value = serde_json::from_str(object).unwrap();
        assert_eq!(value["event"], "sign_in");
    }

    #[test]
    fn audit_events_are_told_at_every_level_unless_switched_off_by_name() {
        assert!(logged("error", LogFormat::Json, |_| audited()).contains("sign_in"));
        assert!(logged("off", LogFormat::Json, |_| audited()).contains("sign_in"));
        assert_eq!(logged("info,audit=off", LogFormat::Json, |_| audited()), "");
    }

    #[test]
    fn a_value_with_line_breaks_makes_no_second_line() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged("info", format, |_| {
                tracing::info!(value = %"x\n2026 ERROR forged\u{1b}[2J\r\u{9b}", "said\nso");
            });
            assert_eq!(text.lines().count(), 1, "{text:?}");
            assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn the_filter_changes_while_it_runs_and_a_bad_one_changes_nothing() {
        let text = logged("warn", LogFormat::Text, |handle| {
            tracing::info!("one");
            handle.set_filter("info").unwrap();
            tracing::info!("two");
            assert!(handle.set_filter("what=is=this").is_err());
            tracing::info!("three");
        });
        assert!(
            !text.contains("one") && text.contains("two") && text.contains("three"),
            "{text}"
        );
    }
}
