//! Keeps planned panics out of the output, so that the one that matters can be found there.

use std::any::Any;
use std::panic;
use std::sync::Once;

/// What planned panics say: the fault plan's, the fake's, and those of these tests.
const PLANNED: [&str; 3] = ["injected", "told to panic", "was told so"];

/// Silences planned panics for the rest of the process. All others are reported as ever.
pub(crate) fn silence_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = text_of(info.payload());
            if !PLANNED.iter().any(|planned| text.contains(planned)) {
                report(info);
            }
        }));
    });
}

/// What a panic said.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().map_or("", String::as_str),
    }
}
