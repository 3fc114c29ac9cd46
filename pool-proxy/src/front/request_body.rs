//! How much of a body is read, and for how long.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::config::HttpSettings;
use crate::wire::{Answer, plain};

/// The whole body, or what the client is told.
pub(super) async fn read(body: Incoming, settings: &HttpSettings) -> Result<Bytes, Answer> {
    let max = settings.body_bytes_max;
    let too_large = || {
        let reason = format!("the body may have {max} bytes\n");
        plain(StatusCode::PAYLOAD_TOO_LARGE, reason)
    };
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match timeout(settings.body_timeout, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the body broke off\n")),
        Err(_) => Err(plain(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time\n",
        )),
    }
}
