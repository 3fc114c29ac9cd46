//! Where the rules do not hold, and why.

/// An import that is part of a circle.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowedImport {
    /// The file that names the other one.
    pub(super) from: &'static str,
    /// The file that is named.
    pub(super) to: &'static str,
    /// Why it is better than to break the circle.
    pub(super) reason: &'static str,
}

/// One name for files in several folders of a crate.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowedName {
    /// Without the ending.
    pub(super) name: &'static str,
    /// All folders that have it.
    pub(super) folders: &'static [&'static str],
    /// Which part of their room all of them are.
    pub(super) reason: &'static str,
}

/// A long file.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowedLength {
    /// From the root of the workspace.
    pub(super) path: &'static str,
    /// Why it is no better in two.
    pub(super) reason: &'static str,
}

/// All exceptions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowed {
    /// To: no circle of imports.
    pub(super) circles: &'static [AllowedImport],
    /// To: one name for one file.
    pub(super) names: &'static [AllowedName],
    /// To: at most 600 lines.
    pub(super) lengths: &'static [AllowedLength],
}

/// Those of this workspace.
pub(super) const ALLOWED: Allowed = Allowed {
    circles: &[
        AllowedImport {
            from: "pool-core/src/config/builder.rs",
            to: "pool-core/src/pool.rs",
            reason: "`builder()` and `build()`: a pool and its builder name each other",
        },
        AllowedImport {
            from: "pool-core/src/config/builder.rs",
            to: "pool-core/src/shared_pool/pool.rs",
            reason: "`builder()` and `build()`: a pool and its builder name each other",
        },
        AllowedImport {
            from: "pool-core/src/slot.rs",
            to: "pool-core/src/engine.rs",
            reason: "a slot frees its place in the engine, whose store keeps the slots: one type \
                     contains the other",
        },
        AllowedImport {
            from: "pool-core/src/store/lending.rs",
            to: "pool-core/src/store/base.rs",
            reason: "the methods of the trait take the store that it is a type parameter of",
        },
    ],
    names: &[
        parallel(
            "acquire",
            &["pool-core/src", "pool-core/src/shared_pool"],
            "the root has the exclusive pool, its room the shared one",
        ),
        parallel(
            "connector",
            &["pool-core/src", "pool-core/src/shared_pool"],
            "the same",
        ),
        parallel(
            "lease",
            &["pool-core/src", "pool-core/src/shared_pool"],
            "the same",
        ),
        parallel(
            "pool",
            &["pool-core/src", "pool-core/src/shared_pool"],
            "the same",
        ),
        parallel(
            "share",
            &["pool-core/src/shared_pool", "pool-core/src/store"],
            "a share as a caller holds it, and as the store counts it",
        ),
        parallel(
            "connection",
            &[
                "pool-stdio/src/exclusive",
                "pool-stdio/src/one_shot",
                "pool-stdio/src/rpc",
            ],
            "each room has one kind of connection",
        ),
        parallel(
            "connector",
            &[
                "pool-stdio/src/exclusive",
                "pool-stdio/src/one_shot",
                "pool-stdio/src/rpc",
            ],
            "each room has one kind of connector",
        ),
        parallel(
            "error",
            &[
                "pool-stdio/src/codec",
                "pool-stdio/src",
                "pool-stdio/src/rpc",
            ],
            "the errors of codecs, of exclusive and one-shot children, and of JSON-RPC",
        ),
    ],
    lengths: &[],
};

const fn parallel(
    name: &'static str,
    folders: &'static [&'static str],
    reason: &'static str,
) -> AllowedName {
    AllowedName {
        name,
        folders,
        reason,
    }
}
