use super::*;

const HOSTILE: &str = "</title><script>alert(1)</script>\"' onload=x <img src=x> &amp; {{ 7*7 }} \u{202e}evil";

fn pages() -> Pages {
    Pages::new("Example Lab")
}

fn html(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

fn header<'a>(response: &'a Response<Bytes>, name: &HeaderName) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

fn every_page(instance: &str, text: &str) -> Vec<Response<Bytes>> {
    let pages = Pages::new(instance);
    vec![
        pages.message(&Message {
            status: StatusCode::FORBIDDEN,
            title: text,
            text: &[text, "And more."],
            links: &[(text, "/x"), ("Second", text)],
            request_id: Some(text),
        }),
        pages.repost(
            "/oidc/callback",
            &[(text.to_owned(), text.to_owned()), ("submit".into(), "1".into())],
        ),
    ]
}

#[test]
fn hostile_text_stays_text_wherever_it_stands() {
    for page in every_page(HOSTILE, HOSTILE) {
        let html = html(&page);
        // Every tag that is there is one of ours, and none has an attribute that came with the text.
        assert_eq!(
            html.matches("<script").count(),
            usize::from(html.contains("id=\"repost\"")),
            "{html}"
        );
        assert_eq!(html.matches("<img").count(), 1, "{html}");
        assert_eq!(
            html.matches("<title>").count(),
            html.matches("</title>").count(),
            "{html}"
        );
        assert!(!html.contains("\"' onload"), "{html}");
        assert!(html.contains("&#38;amp; {{ 7*7 }}"), "{html}");
    }
}

#[test]
fn a_link_never_runs_anything() {
    for href in [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "JAVASCRIPT:x",
        "x",
    ] {
        let page = pages().message(&Message {
            status: StatusCode::OK,
            title: "T",
            text: &[],
            links: &[("Go", href)],
            request_id: None,
        });
        assert!(html(&page).contains("href=\"/\">Go</a>"), "{href}");
    }
    let page = pages().message(&Message {
        status: StatusCode::OK,
        title: "T",
        text: &[],
        links: &[("Go", "/.vestibule/login?rd=%2Fa%3Fb%3Dc&other=1")],
        request_id: None,
    });
    assert!(
        html(&page).contains("href=\"/.vestibule/login?rd=%2Fa%3Fb%3Dc&#38;other=1\""),
        "{}",
        html(&page)
    );
}

#[test]
fn every_page_names_what_it_may_load_and_is_kept_by_nobody() {
    for page in every_page("Example", "text") {
        let policy = header(&page, &CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        for part in [
            "style-src 'self'",
            "img-src 'self'",
            "form-action ",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'),
            "{policy}"
        );
        assert_eq!(
            policy.contains("script-src"),
            html(&page).contains("<script"),
            "{policy}"
        );
        assert_eq!(header(&page, &REFERRER_POLICY), "same-origin");
        assert_eq!(header(&page, &X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(header(&page, &CACHE_CONTROL), "no-store");
        assert_eq!(header(&page, &CONTENT_TYPE), "text/html; charset=utf-8");
    }
}

#[test]
fn every_page_can_be_read_by_a_screen_reader_and_has_nothing_inline() {
    for page in every_page("Example", "text") {
        let html = html(&page);
        assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"));
        for (part, times) in [
            ("<h1>", 1),
            ("<main>", 1),
            ("<header>", 1),
            ("<title>", 1),
            ("rel=\"icon\"", 1),
        ] {
            assert_eq!(html.matches(part).count(), times, "{part} in {html}");
        }
        for inline in [
            "<style", " style=", "<script>", " onclick", " onload", "http://", "https://", "//",
        ] {
            assert!(!html.contains(inline), "{inline} in {html}");
        }
        assert!(html.contains("width=device-width") && !html.contains("user-scalable"));
    }
}

#[test]
fn what_pages_load_is_there_and_may_be_kept() {
    let mut names = Vec::new();
    for page in every_page("Example", "text") {
        for piece in html(&page)
            .split('"')
            .filter(|piece| piece.starts_with("/.vestibule/assets/"))
        {
            let asset = pages().asset(piece).unwrap_or_else(|| panic!("{piece} is not there"));
            assert_eq!(asset.status(), StatusCode::OK);
            assert_eq!(header(&asset, &CACHE_CONTROL), "public, max-age=31536000, immutable");
            assert_eq!(header(&asset, &X_CONTENT_TYPE_OPTIONS), "nosniff");
            names.push(piece.to_owned());
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "{names:?}");
    for missing in [
        "/.vestibule/assets/",
        "/.vestibule/assets/style.css",
        "/.vestibule/assets/../login",
        "",
    ] {
        assert!(pages().asset(missing).is_none(), "{missing}");
    }
}

#[test]
fn the_page_that_posts_again_carries_the_fields_unchanged() {
    let fields = [
        ("id_token".to_owned(), "a.b-_c".to_owned()),
        ("state".to_owned(), "x&y=\"<z>\n".to_owned()),
    ];
    let page = pages().repost("/oidc/callback?again=1", &fields);
    let html = html(&page);
    assert!(
        html.contains("<form id=\"repost\" method=\"post\" action=\"/oidc/callback?again=1\">"),
        "{html}"
    );
    assert!(
        html.contains("<input type=\"hidden\" name=\"id_token\" value=\"a.b-_c\">"),
        "{html}"
    );
    assert!(
        html.contains("name=\"state\" value=\"x&#38;y=&#34;&#60;z&#62;\n\""),
        "{html}"
    );
    assert!(html.contains("<button class=\"button\">Continue</button>"), "{html}");
}

/// WCAG 2.2, success criterion 1.4.3.
#[test]
fn words_stand_out_from_their_ground_in_light_and_dark() {
    let style = include_str!("assets/style.css");
    let (light, dark) = style.split_once("@media (prefers-color-scheme: dark)").unwrap();
    for scheme in [light, dark] {
        for (above, below) in [
            ("ink", "paper"),
            ("ink", "ground"),
            ("soft", "paper"),
            ("accent", "paper"),
            ("accent-hover", "paper"),
            ("on-accent", "accent"),
            ("on-accent", "accent-hover"),
        ] {
            let (above_light, below_light) = (luminance(scheme, above), luminance(scheme, below));
            let contrast = (above_light.max(below_light) + 0.05) / (above_light.min(below_light) + 0.05);
            assert!(contrast >= 4.5, "{above} on {below}: {contrast:.2}");
        }
    }
}

fn luminance(scheme: &str, name: &str) -> f64 {
    let (_, rest) = scheme.split_once(&format!("--{name}: #")).unwrap();
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&rest[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}
