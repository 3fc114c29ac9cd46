//! How bytes of output become a JSON string: as text if that is as short as base64, else as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes as one string of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChunkText {
    Text(String),
    Base64(String),
}

/// How many of the bytes go into one message, so that no character is cut in two unless its rest has not
/// come yet.
pub(crate) fn whole_characters(bytes: &[u8]) -> usize {
    let Err(error) = std::str::from_utf8(bytes) else {
        return bytes.len();
    };
    let is_cut = error.error_len().is_none() && error.valid_up_to() > 0;
    if is_cut {
        error.valid_up_to()
    } else {
        bytes.len()
    }
}

/// As text or base64, whichever is shorter.
pub(crate) fn encode(bytes: Vec<u8>) -> ChunkText {
    match String::from_utf8(bytes) {
        Ok(text) if escaped_len(&text) <= text.len().div_ceil(3) * 4 + ESCAPES_FREE => {
            ChunkText::Text(text)
        }
        Ok(text) => ChunkText::Base64(STANDARD.encode(text)),
        Err(error) => ChunkText::Base64(STANDARD.encode(error.as_bytes())),
    }
}

/// The bytes of standard base64 with padding.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn decode(base64: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(base64).map_err(|error| error.to_string())
}

/// How long the text is as a JSON string.
fn escaped_len(text: &str) -> usize {
    let escapes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..=0x1f => 5,
        _ => 0,
    });
    text.len() + escapes.sum::<usize>()
}

/// Short texts stay readable, whatever they hold.
const ESCAPES_FREE: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_waits_for_its_rest_unless_it_is_all_there_is() {
        assert_eq!(whole_characters("aé".as_bytes()), 3);
        assert_eq!(whole_characters(&"aé".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(&"é".as_bytes()[..1]), 1);
        assert_eq!(whole_characters(b"a\xff\xc3"), 3, "it is no text anyway");
    }

    #[test]
    fn text_with_many_escapes_is_shorter_in_base64() {
        assert_eq!(
            encode(b"a\x1b[0m\n".to_vec()),
            ChunkText::Text("a\x1b[0m\n".into())
        );
        assert!(matches!(encode(vec![0; 1000]), ChunkText::Base64(_)));
        assert!(matches!(encode(vec![0xff]), ChunkText::Base64(_)));
        assert!(matches!(encode(b"line\n".repeat(1000)), ChunkText::Text(_)));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_message_is_much_longer_than_base64(
            bytes in proptest::collection::vec(any::<u8>(), 0..400)
        ) {
            let encoded = encode(bytes.clone());
            let (json_len, back) = match encoded {
                ChunkText::Text(text) => {
                    (serde_json::to_string(&text).unwrap().len(), text.into_bytes())
                }
                ChunkText::Base64(text) => (text.len() + 2, decode(&text).unwrap()),
            };
            prop_assert_eq!(&back, &bytes);
            prop_assert!(json_len <= bytes.len().div_ceil(3) * 4 + ESCAPES_FREE + 2);
        }
    }
}
