//! Hides values that may be secrets in the lines that are shown with a problem.

/// Returns the line with every string hidden that may be a secret: its key's name or its characters suggest one, or its
/// closing quote is missing.
pub(super) fn mask(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['"', '\'']) {
        let (before, quoted) = rest.split_at(at);
        shown.push_str(&mask_urls(before));
        let is_torn_url = before.contains("://");
        let quote = if quoted.starts_with('"') { '"' } else { '\'' };
        let body = quoted.trim_start_matches(quote);
        // Two quotes are an empty string; three open a long one.
        let quotes = quoted.len() - body.len();
        if quotes == 2 {
            let (empty, after) = quoted.split_at(quotes);
            shown.push_str(empty);
            rest = after;
            continue;
        }
        let (value, after, ended) = match body.find(quote) {
            Some(end) => {
                let (value, after) = body.split_at(end);
                (value, after.trim_start_matches(quote), true)
            }
            None if is_torn_url => ("****", "", false),
            None => (body, "", false),
        };
        shown.push(quote);
        shown.push_str(&shown_value(key_before(&shown), value, ended));
        if ended {
            shown.push(quote);
        }
        rest = after;
    }
    shown.push_str(&mask_bare(rest));
    shown
}

/// Hides an unquoted value that may be a key: not valid TOML, but a common mistake.
fn mask_bare(text: &str) -> String {
    match text.find("sk-") {
        Some(at) => format!("{}****", mask_urls(text.get(..at).unwrap_or_default())),
        None => match text.split_once('=') {
            Some((key, value)) if is_secret_name(key) && !value.trim_start().starts_with(['{', '[']) => {
                format!("{}= ****", mask_urls(key))
            }
            _ => mask_urls(text),
        },
    }
}

/// Hides all of a URL but its host, outside of strings: in a comment, or without its quotes.
fn mask_urls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let (url, later) = after.split_at(after.find(char::is_whitespace).unwrap_or(after.len()));
        let (authority, path) = url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()));
        shown.push_str(before);
        match authority.rsplit_once('@') {
            Some((_, host)) => shown.push_str(&format!("****@{host}")),
            None => shown.push_str(authority),
        }
        shown.push_str(if path.is_empty() { "" } else { "/****" });
        rest = later;
    }
    shown.push_str(rest);
    shown
}

fn key_before(shown: &str) -> &str {
    let before = shown.trim_end_matches(['"', '\'']).trim_end();
    let Some(before) = before.strip_suffix('=') else { return "" };
    let key = before.trim_end();
    key.rsplit([' ', ',', '{', '\t', '.']).next().unwrap_or(key)
}

fn is_secret_name(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["key", "token", "secret", "password", "passwd", "auth", "credential"].iter().any(|word| key.contains(word))
        && !key.contains("tokens")
}

fn shown_value(key: &str, value: &str, ended: bool) -> String {
    let by_name = is_secret_name(key) && !matches!(value, "client" | "none") && !value.ends_with(".pem");
    if by_name || value.contains("sk-") || (!ended && value.len() > 16) || looks_random(value) {
        return "****".to_owned();
    }
    match (value.find("://"), value.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            let (scheme, rest) = (value.get(..scheme + 3).unwrap_or_default(), value.get(at + 1..).unwrap_or_default());
            format!("{scheme}****@{}", without_token(rest, 0))
        }
        (Some(scheme), _) => without_token(value, scheme + 3),
        _ => value.to_owned(),
    }
}

/// Returns a URL without its path and query, where webhooks have their token. The path of a backend, which ends with a
/// version such as `/v1`, is shown.
fn without_token(url: &str, host: usize) -> String {
    let rest = url.get(host..).unwrap_or_default();
    let Some(path) = rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)) else { return url.to_owned() };
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_version =
        last.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()));
    if path == "/" || path == "/metrics" || (is_version && !path.contains(['?', '#'])) {
        return url.to_owned();
    }
    format!("{}/****", url.strip_suffix(path).unwrap_or_default())
}

/// True if `value` is long and mixes letters and digits without a break, as keys do and names do not.
fn looks_random(value: &str) -> bool {
    value.len() >= 24
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && value.bytes().filter(u8::is_ascii_digit).count() >= 4
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_shown() {
        for (line, shown) in [
            ("api_key = \"sk-live-1\" # mine", "api_key = \"****\" # mine"),
            ("api_key = \"client\"", "api_key = \"client\""),
            ("api_key = { env = \"QWEN_API_KEY\" }", "api_key = { env = \"QWEN_API_KEY\" }"),
            ("apikey = 'abc'", "apikey = '****'"),
            ("api_key = sk-live-1", "api_key = ****"),
            ("api_key = abc", "api_key = ****"),
            ("api_key = \"\"\"canary", "api_key = \"****"),
            ("url = \"https://u:p@host/v1\"", "url = \"https://****@host/v1\""),
            ("notify = { url = \"https://h.example/services/T0/B0/x\"", "notify = { url = \"https://h.example/****\""),
            ("url = \"https://h.example/hook?sig=x\"", "url = \"https://h.example/****\""),
            ("url = \"https://h.example:1/a/v1/\"", "url = \"https://h.example:1/a/v1/\""),
            ("url = \"https://h.example/a/v1\"", "url = \"https://h.example/a/v1\""),
            ("tls = { key = \"client-key.pem\" }", "tls = { key = \"client-key.pem\" }"),
            ("system = { append = \"\" }", "system = { append = \"\" }"),
            ("api_key = '' # none", "api_key = '' # none"),
            ("alpha = 7 # https://h.example/services/T0/B0/x or", "alpha = 7 # https://h.example/**** or"),
            ("url = https://h.example/hook", "url = https://h.example/****"),
            (
                "a = 1 # https://h.example \"or\"\thttps://h.example/x \"b\"",
                "a = 1 # https://h.example \"or\"\thttps://h.example/**** \"b\"",
            ),
            ("a = 1 # https://h.example/T0 for the task-force", "a = 1 # https://h.example/**** for the ta****"),
            ("# https://h.example/T0?key=1", "# https://h.example/****= ****"),
            ("# https://h.example/T0,https://h.example/v1", "# https://h.example/****"),
            ("# https://u:p@h.example/T0/v1", "# https://****@h.example/****"),
            ("url = \"https://u:p@h.example/hook/T0\"", "url = \"https://****@h.example/****\""),
            ("url = https://h.example/B0\"T0", "url = https://h.example/****\"****"),
            ("percent = { qwen = 120 }", "percent = { qwen = 120 }"),
            ("name = \"7f3kq9s8d7f6g5h4j3k2l1qq\"", "name = \"****\""),
        ] {
            assert_eq!(mask(line), shown);
        }
    }
}
