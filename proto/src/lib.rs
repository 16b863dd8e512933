//! The contracts between services: gRPC messages, clients, servers and events.
//!
//! The sources are `trangtien/<service>/v1/*.proto`; the code is generated at build time and never committed.
//! Every event's type is its full protobuf name (`prost::Name`), for instance `trangtien.wallet.v1.PaymentCompleted`.
#![allow(missing_docs, unreachable_pub, clippy::all, unused_qualifications)]

/// Amounts of money.
pub mod money {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("trangtien.money.v1");
    }
}

/// Keys and revocations for token checks.
pub mod auth {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("trangtien.auth.v1");
    }
}

/// Identity's calls and events.
pub mod identity {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("trangtien.identity.v1");
    }
}

/// The wallet's calls and events.
pub mod wallet {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("trangtien.wallet.v1");
    }
}

/// Field reports' events.
pub mod reports {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("trangtien.reports.v1");
    }
}

/// Notifications' events.
pub mod notifications {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("trangtien.notifications.v1");
    }
}

/// The operations centre's events.
pub mod ioc {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("trangtien.ioc.v1");
    }
}

/// The compiled file descriptors of all contracts, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
