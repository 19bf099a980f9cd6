//! Why an instance must go: for people who wait, and for what its end means.

/// Why an instance must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lifecycle) enum Why {
    NewConfiguration,
    Restart,
    /// It has the old database password.
    Password,
    /// Its database is to be replaced by a backup.
    Restore,
    /// A failed newer instance has left traces in its database.
    Renewal,
    /// Its successor has outlived its bake.
    Replaced,
    /// A trial that has shown what it was started for.
    Proven,
    /// It is not wanted any more, before it could serve or stand by to the end.
    Superseded,
    Stopped,
    /// Nobody uses it.
    Asleep,
    Deleted,
    /// One too many on its database, after a fault.
    Surplus,
    StartTimeout,
    /// It came up worse than what serves.
    Refused,
    /// What serves answers with errors since it runs.
    Harmful,
    Unhealthy,
}

impl Why {
    /// It was wanted: the instance's end is no failure.
    pub fn is_wish(self) -> bool {
        !matches!(self, Self::StartTimeout | Self::Refused | Self::Harmful | Self::Unhealthy)
    }

    /// For people who wait.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewConfiguration => "new configuration",
            Self::Restart => "restarting",
            Self::Password => "new database password",
            Self::Restore => "restoring a backup",
            Self::Renewal => "restarting after a failed rollout",
            Self::Replaced => "replaced",
            Self::Proven => "proven",
            Self::Superseded => "superseded",
            Self::Stopped => "stopping",
            Self::Asleep => "falling asleep",
            Self::Deleted => "being deleted",
            Self::Surplus => "starting",
            Self::StartTimeout | Self::Refused | Self::Harmful => "starting again",
            Self::Unhealthy => "restarting: it did not answer",
        }
    }
}
