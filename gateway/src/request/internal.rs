//! Whether a path is the gateway's own where the admin is answered on the data ports.

/// Exactly the admin's two trees, so that routes such as `/administration` are not shadowed.
#[must_use]
pub fn is_internal(path: &str) -> bool {
    ["/admin", "/dashboard"]
        .iter()
        .any(|tree| path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_name_is_not_the_admins() {
        for (path, expected) in
            [("/admin", true), ("/admin/x", true), ("/dashboard/", true), ("/administration", false)]
        {
            assert_eq!(is_internal(path), expected, "{path}");
        }
    }
}
