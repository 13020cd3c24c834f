//! What a lab says while it works. Doing emits events; showing them is someone else's business.

use std::time::Duration;

use serde::Serialize;

/// A stretch of work that takes long enough to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Removing what an earlier run of this lab left behind.
    CleanUp,
    /// Installing Debian packages into the image's root.
    Packages,
    /// Unpacking the kernel.
    Kernel,
    /// Packing the root file system.
    Pack,
    /// Network namespace, bridge, taps, `libvirtd`.
    Host,
    /// Starting `fence_virtd`.
    FenceDaemon,
    /// Guests boot until systemd has started what they begin with.
    Boot,
    /// Putting the cluster's configuration on the guests, and starting it.
    Apply,
    /// Until Corosync has its membership, Pacemaker a coordinator, and every resource is started.
    Resources,
    /// Writing the guests' memory into the cache.
    Save,
    /// Reading it back.
    Restore,
    /// Setting the guests' clocks and asking every node whether all is as it was.
    Verify,
}

impl Step {
    /// What is going on, as a phrase for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::CleanUp => "removing what an earlier run left",
            Self::Packages => "installing packages into the guest image",
            Self::Kernel => "unpacking the guest kernel",
            Self::Pack => "packing the guest image",
            Self::Host => "setting up the lab's network and libvirt",
            Self::FenceDaemon => "starting fence_virtd",
            Self::Boot => "booting the guests",
            Self::Apply => "putting the cluster on the guests",
            Self::Resources => "forming the cluster",
            Self::Save => "saving the guests",
            Self::Restore => "restoring the saved guests",
            Self::Verify => "verifying the guests",
        }
    }
}

/// Progress of [`crate::Lab::up`].
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A step begins.
    Started {
        /// Which.
        step: Step,
    },
    /// Something worth showing within a step: a line of progress, never needed to understand the result.
    Progress {
        /// Within which step.
        step: Step,
        /// One line.
        detail: String,
    },
    /// A step ended well.
    Finished {
        /// Which.
        step: Step,
        /// How long it took.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// Something the user should know, though the lab goes on.
    Notice {
        /// One sentence.
        text: String,
    },
}

/// Serializes a duration as seconds.
pub(crate) fn seconds<S: serde::Serializer>(
    took: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}
