//! Operation codes.

use std::fmt;

/// What a request asks for. Codes without a name survive decoding and print as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation(pub u8);

impl Operation {
    /// Answered with failure, on purpose: shows that a daemon listens.
    pub const NULL: Self = Self(0);
    /// Power the guest off, hard.
    pub const OFF: Self = Self(1);
    /// Power the guest off, then on again.
    pub const REBOOT: Self = Self(2);
    /// Power the guest on.
    pub const ON: Self = Self(3);
    /// Ask for the guest's power state.
    pub const STATUS: Self = Self(4);
    /// Ask whether the fencing device itself is in order; an agent's `monitor`.
    pub const DEVICE_STATUS: Self = Self(5);
    /// Ask for the guests the requester may fence.
    pub const HOST_LIST: Self = Self(6);

    /// Whether the operation is about one guest and so needs a plug.
    #[must_use]
    pub const fn needs_plug(self) -> bool {
        self.0 <= Self::STATUS.0
    }

    /// Whether the operation may change a guest's power state.
    #[must_use]
    pub const fn is_power_action(self) -> bool {
        matches!(self, Self::OFF | Self::REBOOT | Self::ON)
    }

    /// The operation's name as agents spell it.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NULL => "null",
            Self::OFF => "off",
            Self::REBOOT => "reboot",
            Self::ON => "on",
            Self::STATUS => "status",
            Self::DEVICE_STATUS => "monitor",
            Self::HOST_LIST => "list",
            _ => return None,
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "operation {:#04x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Operation;

    #[test]
    fn codes_are_those_on_the_wire() {
        let names = ["null", "off", "reboot", "on", "status", "monitor", "list"];
        for (code, name) in (0u8..).zip(names) {
            assert_eq!(Operation(code).name(), Some(name));
            assert_eq!(Operation(code).needs_plug(), code <= 4, "{name}");
        }
        assert_eq!(Operation(99).to_string(), "operation 0x63");
    }
}
