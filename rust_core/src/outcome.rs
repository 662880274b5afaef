//! What can become of one event: the stable codes on the wire and in JSON, and the words that go with them.

/// The field of an event that an outcome points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The event as a whole.
    Event,
    /// `customerExternalId`
    Customer,
    /// `idempotencyKey`
    IdempotencyKey,
    /// `metric`
    Metric,
    /// `quantity`
    Quantity,
    /// `occurredAt`
    OccurredAt,
    /// `dimensions`
    Dimensions,
}

impl Field {
    /// The fields in the order in which a missing or invalid one is reported.
    pub const ORDER: [Self; 6] = [Self::Customer, Self::IdempotencyKey, Self::Metric, Self::Quantity, Self::OccurredAt, Self::Dimensions];

    /// The JSON name; empty for the event as a whole.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "",
            Self::Customer => "customerExternalId",
            Self::IdempotencyKey => "idempotencyKey",
            Self::Metric => "metric",
            Self::Quantity => "quantity",
            Self::OccurredAt => "occurredAt",
            Self::Dimensions => "dimensions",
        }
    }

    /// The field with this JSON name.
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"customerExternalId" => Some(Self::Customer),
            b"idempotencyKey" => Some(Self::IdempotencyKey),
            b"metric" => Some(Self::Metric),
            b"quantity" => Some(Self::Quantity),
            b"occurredAt" => Some(Self::OccurredAt),
            b"dimensions" => Some(Self::Dimensions),
            _ => None,
        }
    }

    /// Its bit in a set of fields.
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::Event => 0,
            Self::Customer => 1,
            Self::IdempotencyKey => 2,
            Self::Metric => 4,
            Self::Quantity => 8,
            Self::OccurredAt => 16,
            Self::Dimensions => 32,
        }
    }
}

/// Declares the enum and its conversions in one table, so that a code, its name and its words cannot drift apart.
macro_rules! outcomes {
    ($($name:ident = $number:literal, $code:literal, $field:ident, $detail:literal;)*) => {
        /// What became of one event. The numbers are wire format: never reused (15 was `currency_mismatch`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Outcome {
            $(#[doc = $detail] $name = $number,)*
        }

        impl Outcome {
            /// Every outcome, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The outcome with this wire number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The wire number.
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// The stable code in JSON.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// The sentence that goes with the code.
            pub const fn detail(self) -> &'static str {
                match self {
                    $(Self::$name => $detail,)*
                }
            }

            /// The field it is about.
            pub const fn field(self) -> Field {
                match self {
                    $(Self::$name => Field::$field,)*
                }
            }
        }
    };
}

outcomes! {
    Accepted = 0, "accepted", Event, "Accepted, charged and durable.";
    Duplicate = 1, "duplicate", IdempotencyKey, "The same event was accepted before.";
    Conflict = 2, "idempotency_conflict", IdempotencyKey, "Another event was accepted with this idempotencyKey.";
    InsufficientBalance = 10, "insufficient_balance", Customer, "The customer's balance, or what it may owe, does not cover the charge.";
    NoPrice = 11, "no_price", Metric, "No charge of the customer's rate card at occurredAt matches this metric and these dimensions in the customer's currency.";
    UnknownMetric = 12, "unknown_metric", Metric, "This metric is not defined.";
    UnknownCustomer = 13, "unknown_customer", Customer, "This customer does not exist, and unknown customers are refused.";
    AmountOutOfRange = 14, "amount_out_of_range", Quantity, "The charge or the balance after it would be out of range.";
    InvalidEvent = 30, "invalid_event", Event, "An event is a JSON object that names each field once.";
    UnknownField = 31, "unknown_field", Event, "An event has no such field.";
    MissingField = 32, "missing_field", Event, "A required field is missing.";
    InvalidCustomer = 33, "invalid_customer", Customer, "customerExternalId is a string of 1 to 255 bytes without control characters.";
    InvalidIdempotencyKey = 34, "invalid_idempotency_key", IdempotencyKey,
        "idempotencyKey is a string of 1 to 255 bytes without control characters.";
    InvalidMetric = 35, "invalid_metric", Metric, "metric is a string of lower-case letters, digits and underscores, 1 to 64, a letter first.";
    InvalidQuantity = 36, "invalid_quantity", Quantity,
        "quantity is a plain decimal above zero with at most 18 integer digits and 9 decimals.";
    InvalidTime = 37, "invalid_time", OccurredAt, "occurredAt is an RFC 3339 time with an offset or Z and at most microseconds.";
    TooOld = 38, "too_old", OccurredAt, "occurredAt is more than 35 days back.";
    InFuture = 39, "in_future", OccurredAt, "occurredAt is more than 5 minutes ahead.";
    InvalidDimensions = 40, "invalid_dimensions", Dimensions,
        "dimensions is an object of at most 16 names (a letter, then letters, digits, _ . -; 64 at most) with strings of 1 to 255 bytes without control characters.";
}

impl Outcome {
    /// The `outcome` word in JSON: everything but the first three is a rejection, which is not remembered.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            _ => "rejected",
        }
    }

    /// The outcome of a field whose value is wrong.
    pub(crate) const fn invalid(field: Field) -> Self {
        match field {
            Field::Event => Self::InvalidEvent,
            Field::Customer => Self::InvalidCustomer,
            Field::IdempotencyKey => Self::InvalidIdempotencyKey,
            Field::Metric => Self::InvalidMetric,
            Field::Quantity => Self::InvalidQuantity,
            Field::OccurredAt => Self::InvalidTime,
            Field::Dimensions => Self::InvalidDimensions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers round-trip, codes are unique, and field names are their own inverse.
    #[test]
    fn tables_are_consistent() {
        let mut codes: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.code()).collect();
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_number(outcome.number()), Some(*outcome));
            assert_eq!(*outcome as u8, outcome.number());
        }
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Outcome::ALL.len());
        assert_eq!(Outcome::from_number(255), None);
        for field in Field::ORDER {
            assert_eq!(Field::named(field.name().as_bytes()), Some(field));
        }
        assert_eq!(Field::named(b""), None);
    }
}
