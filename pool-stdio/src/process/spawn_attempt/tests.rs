//! Failures of the system that cannot be had on demand, put in at the seam.

use std::cell::Cell;

use super::*;

/// Fails so often, then succeeds, and adds up the pauses.
fn retry_against(failures: u32, errno: i32) -> (Result<u32, (i32, u32)>, Duration) {
    let paused = Cell::new(Duration::ZERO);
    let mut tried = 0;
    let result = retry_briefly(
        &RandomState::new(),
        |pause| paused.set(paused.get() + pause),
        || {
            tried += 1;
            if tried <= failures {
                Err(io::Error::from_raw_os_error(errno).into())
            } else {
                Ok(tried)
            }
        },
    );
    let result = result.map_err(|Failure { error, attempts }| {
        let StartError::System(error) = error else {
            panic!("{error:?}")
        };
        let errno = error.raw_os_error().expect("it came from the system");
        (errno, attempts)
    });
    (result, paused.get())
}

#[test]
fn a_failure_that_may_be_over_in_a_moment_is_retried() {
    for errno in [libc::ETXTBSY, libc::EAGAIN] {
        for failures in 0..ATTEMPTS_MAX {
            let (result, paused) = retry_against(failures, errno);
            assert_eq!(result, Ok(failures + 1));
            assert_eq!(paused.is_zero(), failures == 0);
        }
    }
}

#[test]
fn a_failure_of_more_than_thirty_milliseconds_is_told_with_the_attempts() {
    for errno in [libc::ETXTBSY, libc::EAGAIN] {
        let (result, paused) = retry_against(ATTEMPTS_MAX, errno);
        assert_eq!(result, Err((errno, ATTEMPTS_MAX)));
        let bound = Duration::from_millis(31);
        assert!(paused >= bound / 2 && paused <= bound, "{paused:?}");
    }
}

#[test]
fn a_lasting_failure_is_not_retried() {
    for errno in [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOENT,
        libc::EACCES,
    ] {
        let (result, paused) = retry_against(1, errno);
        assert_eq!((result, paused), (Err((errno, 1)), Duration::ZERO));
    }
}
