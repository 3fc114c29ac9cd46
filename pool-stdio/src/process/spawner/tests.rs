//! Failures of the system that cannot be had on demand, put in at the seam.

use std::cell::Cell;

use super::*;

/// Fails so often, then succeeds; tells how often it was tried, and how long it paused in all.
fn persist_against(failures: u32, errno: i32) -> (Result<u32, (i32, u32)>, Duration) {
    let paused = Cell::new(Duration::ZERO);
    let mut tried = 0;
    let outcome = persist(
        &RandomState::new(),
        |pause| paused.set(paused.get() + pause),
        || {
            tried += 1;
            if tried <= failures {
                Err(io::Error::from_raw_os_error(errno))
            } else {
                Ok(tried)
            }
        },
    );
    let told = outcome.map_err(|(error, attempts)| {
        let errno = error.raw_os_error().expect("it came from the system");
        (errno, attempts)
    });
    (told, paused.get())
}

#[test]
fn what_may_be_over_in_a_moment_is_tried_again() {
    for errno in [libc::ETXTBSY, libc::EAGAIN] {
        for failures in 0..ATTEMPTS_MAX {
            let (outcome, paused) = persist_against(failures, errno);
            assert_eq!(outcome, Ok(failures + 1));
            assert_eq!(paused.is_zero(), failures == 0);
        }
    }
}

#[test]
fn what_is_not_over_in_thirty_milliseconds_is_told_with_the_attempts() {
    for errno in [libc::ETXTBSY, libc::EAGAIN] {
        let (outcome, paused) = persist_against(ATTEMPTS_MAX, errno);
        assert_eq!(outcome, Err((errno, ATTEMPTS_MAX)));
        let bound = Duration::from_millis(31);
        assert!(paused >= bound / 2 && paused <= bound, "{paused:?}");
    }
}

#[test]
fn what_lasts_is_not_tried_again() {
    for errno in [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOENT,
        libc::EACCES,
    ] {
        let (outcome, paused) = persist_against(1, errno);
        assert_eq!((outcome, paused), (Err((errno, 1)), Duration::ZERO));
    }
}

fn told(errno: i32, attempts: u32) -> SpawnError {
    let command = crate::CommandSpec::new("/bin/sh").build();
    let error = io::Error::from_raw_os_error(errno);
    spawn_error(&command.expect("every Unix has it"), error, attempts)
}

#[test]
fn a_shortage_is_transient_and_tells_its_numbers() {
    let processes = told(libc::EAGAIN, 6);
    assert!(processes.is_transient());
    let SpawnError::ProcessLimit {
        attempts, limit, ..
    } = &processes
    else {
        panic!("{processes:?}");
    };
    assert_eq!((*attempts, *limit), (6, sys::process_limit()));
    assert!(processes.to_string().contains("6 attempts"), "{processes}");

    for (errno, whose, limit) in [
        (libc::EMFILE, "process", sys::descriptor_limit()),
        (libc::ENFILE, "system", None),
    ] {
        let descriptors = told(errno, 1);
        assert!(descriptors.is_transient());
        let text = descriptors.to_string();
        assert!(text.contains(whose) && text.contains("the 4 of a child"));
        let SpawnError::Descriptors {
            limit: told, open, ..
        } = descriptors
        else {
            panic!("{text}");
        };
        assert_eq!(told, limit);
        assert_eq!(open.is_some(), cfg!(target_os = "linux"));
    }

    let memory = told(libc::ENOMEM, 1);
    assert!(memory.is_transient());
    let is_told = memory.to_string().contains("MiB of this program");
    assert_eq!(is_told, cfg!(target_os = "linux"), "{memory}");
}

#[test]
fn a_program_that_cannot_run_is_no_shortage() {
    for errno in [libc::ENOENT, libc::EACCES, libc::E2BIG, libc::EINVAL] {
        assert!(!told(errno, 1).is_transient());
    }
}
