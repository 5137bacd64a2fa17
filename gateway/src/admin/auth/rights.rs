//! What a caller may do: a role, and the services it is for. Who calls is `Principal`'s business.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much a caller may do; each may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum Role {
    /// Read configuration and state.
    Viewer,
    /// Change configuration.
    Editor,
    /// Change who may do what, and how the gateway runs.
    Admin,
}

/// What a caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) struct Rights {
    /// How much.
    pub(in crate::admin) role: Role,
    /// Of which services, and what belongs to them; `None` is of everything.
    pub(in crate::admin) services: Option<Services>,
}

impl Rights {
    /// All there is.
    pub(in crate::admin) const ALL: Self = Self { role: Role::Admin, services: None };

    /// Whether it may change what belongs to no service, or to all.
    pub(in crate::admin) fn may_edit_everything(&self) -> bool {
        self.role >= Role::Editor && self.services.is_none()
    }

    /// Whether it may change this service, its nodes and its routes.
    pub(in crate::admin) fn may_edit(&self, service: &str) -> bool {
        self.role >= Role::Editor && self.services.as_ref().is_none_or(|services| services.cover(service))
    }

    /// Whether it may change users, tokens, and how the gateway runs.
    pub(in crate::admin) fn may_administer(&self) -> bool {
        self.role == Role::Admin && self.services.is_none()
    }
}

/// Services by name: names, and beginnings of names with a `*` after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::admin) struct Services(pub(in crate::admin) Vec<String>);

impl Services {
    /// Whether a service is one of them.
    pub(in crate::admin) fn cover(&self, service: &str) -> bool {
        self.0.iter().any(|covered| match covered.strip_suffix('*') {
            Some(beginning) => service.starts_with(beginning),
            None => service == covered,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_for_some_services_end_at_them() {
        let rights = |role, services: Option<&[&str]>| Rights {
            role,
            services: services.map(|names| Services(names.iter().map(ToString::to_string).collect())),
        };
        let team = rights(Role::Editor, Some(&["shop", "team-a.*"]));
        assert!(team.may_edit("shop") && team.may_edit("team-a.users"));
        assert!(!team.may_edit("shop2") && !team.may_edit("team-b.users") && !team.may_edit(""));
        assert!(!team.may_edit_everything() && !team.may_administer());
        assert!(!rights(Role::Admin, Some(&["*"])).may_administer(), "who may what concerns all services");
        assert!(!rights(Role::Viewer, None).may_edit("shop"));
        assert!(Rights::ALL.may_administer() && Rights::ALL.may_edit("shop") && Rights::ALL.may_edit_everything());
    }
}
