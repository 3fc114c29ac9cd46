//! Keeps planned panics out of the output, so that a real one can be found there.

use std::any::Any;
use std::panic;
use std::sync::Once;

/// Texts of planned panics: those of fault plans, of the fake, and of these tests.
const PLANNED: [&str; 3] = ["injected", "told to panic", "was told so"];

/// Silences planned panics for the rest of the process. All others are still reported.
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

/// The message of a panic.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().map_or("", String::as_str),
    }
}
