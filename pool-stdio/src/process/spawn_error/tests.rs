//! What a failure of the system is told as.

use super::*;

fn told(errno: i32, attempts: u32) -> SpawnError {
    let command = crate::CommandSpec::new("/bin/sh").build();
    let error = io::Error::from_raw_os_error(errno);
    SpawnError::from_system(&command.expect("every Unix has it"), error, attempts)
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

#[test]
fn a_file_system_that_does_not_work_may_work_later() {
    for errno in [libc::EIO, libc::ESTALE, libc::ETIMEDOUT] {
        let error = told(errno, 1);
        assert!(error.is_transient(), "{error}");
        assert!(matches!(error, SpawnError::Storage { .. }));
    }
}
