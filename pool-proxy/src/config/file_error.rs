//! What is said of a file that cannot be read as a configuration: in words of the file, and without values,
//! any of which may be a secret.

/// Says what is wrong in a line, after what the parser says of it.
pub(super) fn explained(line: &str, message: &str) -> String {
    let message = match without_text(message) {
        // Of the parser of the standard library.
        known if known == "invalid socket address syntax" => {
            "invalid value, expected socket address".to_owned()
        }
        other => other,
    };
    let said = message
        .split_once("expected ")
        .and_then(|(found, expected)| Some(format!("{found}expected {}", form(expected)?)))
        .unwrap_or(message);
    match key(line) {
        Some(key) if !said.contains("unknown field") => format!("`{key}`: {said}"),
        Some(_) | None => said,
    }
}

/// The message without the text that it quotes.
fn without_text(message: &str) -> String {
    let quoted = message
        .split_once("string \"")
        .and_then(|(before, rest)| Some((before, rest.rsplit_once('"')?.1)));
    match quoted {
        Some((before, after)) => format!("{before}text{after}"),
        None => message.to_owned(),
    }
}

/// The form of a value, with an example, for what the parser calls it.
fn form(expected: &str) -> Option<&'static str> {
    Some(match expected {
        "usize" | "u64" | "u32" => "a whole number, such as 4194304",
        "a duration" => "a time, such as \"30s\"",
        // A size.
        "an integer or string" | "integer overflow" | "parsable string" => {
            "a number of bytes, or one with a unit, such as 4194304 or \"4 MiB\""
        }
        "socket address" => "an IP address and a port, such as \"127.0.0.1:8080\"",
        "a sequence" => "a list, such as [\"python3\", \"server.py\"]",
        "a boolean" => "true or false",
        "a map" => "a table, such as { NAME = \"value\" }",
        "struct TokenSettings" => "a table, such as { sha256 = \"…\" }",
        "struct ServerSettings" => "a table, such as { command = [\"python3\", \"server.py\"] }",
        _ => return None,
    })
}

/// The key that a line sets.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    (!key.is_empty() && !key.contains(['{', '[', '#', '"', '\''])).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn an_error_names_the_key_and_the_form_and_never_the_value() {
        let cases = [
            (
                "[tokens]\nalice = \"SECRET\"",
                "`alice`: invalid type: text, expected a table, such as { sha256",
            ),
            (
                "[servers.a]\ncommand = ['cat']\nenv = \"K=SECRET\"",
                "`env`: invalid type: text, expected a table, such as { NAME",
            ),
            (
                "[servers.a]\ncommand = ['cat']\nenv = { K = 5 }",
                "invalid type: integer `5`, expected a string",
            ),
            (
                "[servers.a]\ncommand = \"SECRET\"",
                "`command`: invalid type: text, expected a list",
            ),
            (
                "[http]\nbody_bytes_max = \"SECRET\"",
                "`body_bytes_max`: invalid value: text, expected a number of bytes, or one with a unit, such as 4194304 or \"4 MiB\"",
            ),
            (
                "[limits]\nmemory_bytes_max = true",
                "`memory_bytes_max`: invalid type: boolean `true`, expected a number of bytes, or one with a unit",
            ),
            (
                "[limits]\nmemory_bytes_max = -1",
                "`memory_bytes_max`: invalid value: integer `-1`, expected a number of bytes",
            ),
            (
                "[limits]\nchildren_max = \"SECRET\"",
                "`children_max`: invalid type: text, expected a whole number",
            ),
            (
                "listen = \"127.0.0.1\"",
                "`listen`: invalid value, expected an IP address and a port, such as \"127.0.0.1:8080\"",
            ),
            (
                "listen = 8080",
                "`listen`: invalid type: integer `8080`, expected an IP address and a port",
            ),
            (
                "[http]\nbody_timeout = 30",
                "`body_timeout`: invalid type: integer `30`, expected a time, such as \"30s\"",
            ),
            ("[http]\nbody_timeout = \"SECRET\"", "expected a time"),
            ("listen = \"SECRET\"", "`listen`: "),
            (
                "[servers.a]\ncommand = ['cat']\nsharing = \"SECRET\"",
                "`sharing`: unknown variant",
            ),
            ("lisen = 1", "unknown field `lisen`"),
        ];
        for (text, expected) in cases {
            let error = toml::from_str::<Settings>(text).unwrap_err();
            let start = error.span().map_or(0, |span| span.start);
            let line = text[..start].rfind('\n').map_or(0, |end| end + 1);
            let line = text[line..].lines().next().unwrap_or_default();
            let said = explained(line, error.message());
            assert!(said.contains(expected), "{text}: {said}");
            let is_name = text.contains("sharing");
            assert!(is_name || !said.contains("SECRET"), "{said}");
        }
    }
}
