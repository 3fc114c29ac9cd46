//! How arguments become one command line, which is all that a program gets.
//!
//! Nearly every program splits its line by the rules of the C library: words at spaces, quotes around
//! spaces, `\"` for a quote. Batch files are run by `cmd.exe`, which has rules of its own, before them
//! expands variables, and takes some characters for commands.

/// The line of a program that splits it as the C library does; `None` for a name that cannot be
/// written.
pub(crate) fn program_line(program: &[u16], args: &[Vec<u16>]) -> Option<Vec<u16>> {
    // The name ends at the next quote, whatever is before it.
    if program.contains(&QUOTE) {
        return None;
    }
    let mut line = vec![QUOTE];
    line.extend(program);
    line.push(QUOTE);
    for arg in args {
        line.push(SPACE);
        let is_quoted = arg.is_empty() || arg.contains(&SPACE) || arg.contains(&TAB);
        push_escaped(&mut line, arg, is_quoted, Escape::Backslash);
    }
    Some(line)
}

/// The line of `cmd.exe` that runs a batch file; `None` if no quoting gets an argument to it unchanged.
pub(crate) fn batch_line(file: &[u16], args: &[Vec<u16>]) -> Option<Vec<u16>> {
    if file.contains(&QUOTE) || file.last() == Some(&BACKSLASH) {
        return None;
    }
    if args.iter().any(|arg| !can_reach_batch(arg)) {
        return None;
    }
    // Extensions on, for the trick with `%`. Delayed expansion off, so that `!` is an ordinary
    // character. No commands of the user's registry. One pair of quotes around it all is removed.
    let mut line: Vec<u16> = r#"cmd.exe /e:ON /v:OFF /d /c ""#.encode_utf16().collect();
    push_escaped(&mut line, file, true, Escape::Double);
    for arg in args {
        line.push(SPACE);
        let is_plain = |unit: &u16| {
            *unit > LAST_CONTROL
                || u8::try_from(*unit).is_ok_and(|byte| {
                    byte.is_ascii_alphanumeric() || PLAIN_IN_BATCH.contains(&byte)
                })
        };
        // A backslash at the end would escape the quote that a file puts around `%1`.
        let is_quoted =
            arg.last().is_none_or(|last| *last == BACKSLASH) || !arg.iter().all(is_plain);
        push_escaped(&mut line, arg, is_quoted, Escape::Double);
    }
    line.push(QUOTE);
    Some(line)
}

/// Whether some quoting gets it to a batch file unchanged. Line ends end the command.
pub(crate) fn can_reach_batch(arg: &[u16]) -> bool {
    let is_line_end = |unit: &u16| [0, LINE_FEED, CARRIAGE_RETURN].contains(unit);
    !arg.iter().any(is_line_end)
}

/// How a quote within an argument is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    Backslash,
    /// For `cmd.exe`: a quote is written twice, and each percent sign is followed by a variable that
    /// is empty.
    Double,
}

fn push_escaped(line: &mut Vec<u16>, arg: &[u16], is_quoted: bool, escape: Escape) {
    if is_quoted {
        line.push(QUOTE);
    }
    // Backslashes mean themselves, unless a quote follows them.
    let mut backslashes = 0;
    for unit in arg {
        match *unit {
            BACKSLASH => backslashes += 1,
            QUOTE => {
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
                line.push(match escape {
                    Escape::Backslash => BACKSLASH,
                    Escape::Double => QUOTE,
                });
                backslashes = 0;
            }
            PERCENT if escape == Escape::Double => {
                // `%%cd:~,%` is the first zero characters of the directory: no variable is expanded.
                line.extend("%%cd:~,".encode_utf16());
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        line.push(*unit);
    }
    if is_quoted {
        line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
        line.push(QUOTE);
    }
}

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;
const SPACE: u16 = b' ' as u16;
const TAB: u16 = b'\t' as u16;
const PERCENT: u16 = b'%' as u16;
const LINE_FEED: u16 = b'\n' as u16;
const CARRIAGE_RETURN: u16 = b'\r' as u16;
/// Of the control characters above ASCII.
const LAST_CONTROL: u16 = 0x9f;
/// Characters other than letters and digits that `cmd.exe` does not look at.
const PLAIN_IN_BATCH: &[u8] = br"#$*+-./:?@\_";

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn text(line: &[u16]) -> String {
        String::from_utf16(line).unwrap()
    }

    fn program(args: &[&str]) -> String {
        let args: Vec<_> = args.iter().map(|arg| units(arg)).collect();
        let line = program_line(&units(r"C:\p q.exe"), &args);
        text(&line.unwrap())
    }

    fn batch(args: &[&str]) -> Option<String> {
        let args: Vec<_> = args.iter().map(|arg| units(arg)).collect();
        batch_line(&units(r"C:\p q.cmd"), &args).map(|line| text(&line))
    }

    /// Splits a line as the C library does.
    fn split(line: &str) -> Vec<String> {
        let mut rest = line.chars().peekable();
        let mut words = Vec::new();
        let mut is_first = true;
        loop {
            while rest.next_if(|one| *one == ' ' || *one == '\t').is_some() {}
            if rest.peek().is_none() {
                return words;
            }
            let (mut word, mut is_quoted) = (String::new(), false);
            while let Some(one) = rest.next_if(|one| is_quoted || (*one != ' ' && *one != '\t')) {
                match one {
                    '"' if is_quoted && !is_first && rest.next_if_eq(&'"').is_some() => {
                        word.push('\"');
                    }
                    '"' => is_quoted = !is_quoted,
                    '\\' if !is_first => {
                        let mut count = 1;
                        while rest.next_if_eq(&'\\').is_some() {
                            count += 1;
                        }
                        let is_before_quote = rest.peek() == Some(&'"');
                        let kept = if is_before_quote { count / 2 } else { count };
                        word.extend(std::iter::repeat_n('\\', kept));
                        if is_before_quote && count % 2 == 1 {
                            word.extend(rest.next());
                        }
                    }
                    one => word.push(one),
                }
            }
            is_first = false;
            words.push(word);
        }
    }

    #[test]
    fn a_program_gets_every_argument_as_it_was_given() {
        let alphabet = ['a', ' ', '"', '\\', '\t', 'é'];
        let mut args = vec![String::new()];
        for _ in 0..5 {
            let longer = args
                .iter()
                .flat_map(|arg| alphabet.map(|one| format!("{arg}{one}")));
            args = longer.chain([String::new()]).collect();
        }
        for arg in &args {
            let line = program(&[arg, "x"]);
            assert_eq!(split(&line), [r"C:\p q.exe", arg, "x"], "{line}");
        }
    }

    #[test]
    fn a_batch_file_gets_nothing_that_its_shell_would_act_on_outside_of_quotes() {
        for arg in [
            "a&b", "a|b", "a>b", "a^b", "(a)", "a;b", "a,b", "a=b", "a b", "a'b", "a!b", "",
        ] {
            let quoted = format!(r#"cmd.exe /e:ON /v:OFF /d /c ""C:\p q.cmd" "{arg}"""#);
            assert_eq!(batch(&[arg]), Some(quoted));
        }
        let plain = r#"cmd.exe /e:ON /v:OFF /d /c ""C:\p q.cmd" --port=1"#;
        assert_ne!(
            batch(&["--port=1"]).as_deref(),
            Some(plain),
            "= splits words"
        );
        let plain = r#"cmd.exe /e:ON /v:OFF /d /c ""C:\p q.cmd" --stdio é""#;
        assert_eq!(batch(&["--stdio", "é"]).as_deref(), Some(plain));
    }

    #[test]
    fn quotes_and_percent_signs_reach_a_batch_file_and_expand_nothing() {
        let line = batch(&[r#"a"b"#, "%PATH%", r"dir\"]).unwrap();
        let args = r#""a""b" "%%cd:~,%PATH%%cd:~,%" "dir\\""#;
        assert!(line.ends_with(&format!("{args}\"")), "{line}");
    }

    #[test]
    fn what_no_quoting_gets_to_a_batch_file_is_refused() {
        for arg in ["a\nb", "a\rb", "a\0b"] {
            assert_eq!(batch(&[arg]), None, "{arg:?}");
        }
        assert_eq!(batch_line(&units("a\"b.cmd"), &[]), None);
    }
}
