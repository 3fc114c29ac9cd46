//! What to type instead of a command line that names a server, or its settings, but not `serve`.

/// What to type instead; `None` if that cannot be told. The words come after the name of the program.
pub(crate) fn slip(words: &[String]) -> Option<String> {
    let first = words.first()?;
    let is_misspelled = !first.starts_with('-') && strsim::damerau_levenshtein(first, SERVE) <= 2;
    if first == SERVE || is_misspelled {
        return None;
    }
    let (settings, command) = split(words)?;
    let settings: String = settings
        .iter()
        .map(|word| format!(" {}", quoted(word)))
        .collect();
    let command: String = command
        .iter()
        .map(|word| format!(" {}", quoted(word)))
        .collect();
    let (what, command) = match command.is_empty() {
        true => ("these settings belong to `serve`", String::new()),
        false => ("a command is served by `serve`", format!(" --{command}")),
    };
    Some(format!(
        "{what}. Type:\n  pool-proxy {SERVE}{settings}{command}"
    ))
}

/// The settings of `serve`, and the command after them; `None` if there is another setting.
fn split(words: &[String]) -> Option<(&[String], &[String])> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if word == "--" {
            return Some((&words[..at], &words[at + 1..]));
        }
        if !word.starts_with('-') {
            break;
        }
        let (name, has_value) = match word.split_once('=') {
            Some((name, _)) => (name, true),
            None => (&**word, false),
        };
        at += match name {
            "--without-tokens" => 1,
            "--listen" | "--config" | "--sharing" | "--log" if has_value => 1,
            "--listen" | "--config" | "--sharing" | "--log" => 2,
            _ => return None,
        };
    }
    words.split_at_checked(at)
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

const SERVE: &str = "serve";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_to_type_and_is_silent_about_other_mistakes() {
        let cases = [
            ("-- python3 server.py", Some("serve -- python3 server.py")),
            ("python3 server.py", Some("serve -- python3 server.py")),
            ("npx -y server", Some("serve -- npx -y server")),
            (
                "--listen 127.0.0.1:9 -- cat",
                Some("serve --listen 127.0.0.1:9 -- cat"),
            ),
            (
                "--sharing=shared cat -u",
                Some("serve --sharing=shared -- cat -u"),
            ),
            ("--config proxy.toml", Some("serve --config proxy.toml")),
            ("sevre -- cat", None),
            ("serve --lisen x", None),
            ("--lisen x", None),
            ("--config", None),
            ("", None),
        ];
        for (typed, meant) in cases {
            let words: Vec<String> = typed.split_whitespace().map(str::to_owned).collect();
            let said = slip(&words);
            match meant {
                Some(meant) => {
                    let line = format!("\n  pool-proxy {meant}");
                    assert!(
                        said.as_ref().is_some_and(|said| said.ends_with(&line)),
                        "{said:?}"
                    );
                }
                None => assert_eq!(said, None, "{typed}"),
            }
        }
        let words = ["sh", "-c", "it's"].map(str::to_owned);
        assert!(slip(&words).unwrap().ends_with(r"serve -- sh -c 'it'\''s'"));
    }
}
