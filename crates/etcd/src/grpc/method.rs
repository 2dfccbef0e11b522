//! Every RPC that this front-end knows, by path and by number.
//!
//! Numbers index the counters of `metrics`, so that counting a call looks nothing up.

/// How many messages go which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ServerStream,
    BidiStream,
}

impl Kind {
    /// As the metric label `grpc_type` spells it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Kind::Unary => "unary",
            Kind::ServerStream => "server_stream",
            Kind::BidiStream => "bidi_stream",
        }
    }
}

macro_rules! methods {
    ($($service:literal { $($name:ident $method:literal $kind:ident,)* })*) => {
        /// One RPC.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Method { $($($name,)*)* }

        impl Method {
            /// In the order of their numbers.
            pub(crate) const ALL: &[Method] = &[$($(Method::$name,)*)*];

            /// The RPC at a request's path.
            pub(crate) fn find(path: &str) -> Option<Method> {
                match path {
                    $($(concat!("/", $service, "/", $method) => Some(Method::$name),)*)*
                    _ => None,
                }
            }

            /// Its service, its name and its kind.
            pub(crate) fn describe(self) -> (&'static str, &'static str, Kind) {
                match self { $($(Method::$name => ($service, $method, Kind::$kind),)*)* }
            }
        }
    };
}

methods! {
    "etcdserverpb.KV" {
        Range "Range" Unary,
        Put "Put" Unary,
        DeleteRange "DeleteRange" Unary,
        Txn "Txn" Unary,
        Compact "Compact" Unary,
    }
    "etcdserverpb.Watch" {
        Watch "Watch" BidiStream,
    }
    "etcdserverpb.Lease" {
        LeaseGrant "LeaseGrant" Unary,
        LeaseRevoke "LeaseRevoke" Unary,
        LeaseKeepAlive "LeaseKeepAlive" BidiStream,
        LeaseTimeToLive "LeaseTimeToLive" Unary,
        LeaseLeases "LeaseLeases" Unary,
    }
    "etcdserverpb.Cluster" {
        MemberAdd "MemberAdd" Unary,
        MemberRemove "MemberRemove" Unary,
        MemberUpdate "MemberUpdate" Unary,
        MemberList "MemberList" Unary,
        MemberPromote "MemberPromote" Unary,
    }
    "etcdserverpb.Maintenance" {
        Alarm "Alarm" Unary,
        Status "Status" Unary,
        Defragment "Defragment" Unary,
        Hash "Hash" Unary,
        HashKv "HashKV" Unary,
        Snapshot "Snapshot" ServerStream,
        MoveLeader "MoveLeader" Unary,
        Downgrade "Downgrade" Unary,
    }
    "etcdserverpb.Auth" {
        AuthEnable "AuthEnable" Unary,
        AuthDisable "AuthDisable" Unary,
        AuthStatus "AuthStatus" Unary,
        Authenticate "Authenticate" Unary,
        UserAdd "UserAdd" Unary,
        UserGet "UserGet" Unary,
        UserList "UserList" Unary,
        UserDelete "UserDelete" Unary,
        UserChangePassword "UserChangePassword" Unary,
        UserGrantRole "UserGrantRole" Unary,
        UserRevokeRole "UserRevokeRole" Unary,
        RoleAdd "RoleAdd" Unary,
        RoleGet "RoleGet" Unary,
        RoleList "RoleList" Unary,
        RoleDelete "RoleDelete" Unary,
        RoleGrantPermission "RoleGrantPermission" Unary,
        RoleRevokePermission "RoleRevokePermission" Unary,
    }
    "v3lockpb.Lock" {
        Lock "Lock" Unary,
        Unlock "Unlock" Unary,
    }
    "v3electionpb.Election" {
        Campaign "Campaign" Unary,
        Proclaim "Proclaim" Unary,
        Leader "Leader" Unary,
        Observe "Observe" ServerStream,
        Resign "Resign" Unary,
    }
    "grpc.health.v1.Health" {
        HealthCheck "Check" Unary,
        HealthWatch "Watch" ServerStream,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_is_found_by_its_path() {
        for &method in Method::ALL {
            let (service, name, _) = method.describe();
            assert_eq!(Method::find(&format!("/{service}/{name}")), Some(method));
            assert_eq!(Method::ALL[method as usize], method);
        }
        assert_eq!(Method::find("/etcdserverpb.KV/RangeStream"), None);
    }
}
