//! A route: which requests it takes, and where they go.

use http::Method;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema as _, ToSchema};

use super::{Invalid, Retry, Timeouts, from_json, lenient};

/// What a route speaks to its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// gRPC over HTTP/2.
    Grpc,
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("" | "http") => Ok(Self::Http),
            Some("grpc") => Ok(Self::Grpc),
            Some(other) => {
                Err(serde::de::Error::custom(format!("\"{other}\" is no protocol; expected \"http\" or \"grpc\"")))
            }
        }
    }
}

/// A condition on a header or query argument: a text that must be equal, or one of `exact`,
/// `prefix`, `regex`, `present`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicate {
    /// The header or argument.
    pub name: String,
    /// What must hold for it.
    pub test: PredicateTest,
}

/// What must hold for a header or query argument.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PredicateTest {
    /// It is there (`true`) or is not (`false`).
    Present(bool),
    /// Its value is this.
    Exact(String),
    /// Its value begins so.
    Prefix(String),
    /// Its value matches this regular expression somewhere.
    Regex(String),
}

/// A route as declared.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct Route {
    /// The path pattern: exact, or ending in `*`.
    #[schema(example = "/api/*")]
    pub prefix: String,
    /// The hosts it serves; all when empty.
    #[serde(default, deserialize_with = "lenient::strings")]
    pub hosts: Vec<String>,
    /// The methods it serves; all when empty.
    #[serde(default, deserialize_with = "methods")]
    #[schema(value_type = Vec<String>, example = json!(["GET"]))]
    pub methods: Vec<Method>,
    /// Conditions on headers.
    #[serde(default, deserialize_with = "predicates")]
    #[schema(schema_with = conditions)]
    pub headers: Vec<Predicate>,
    /// Conditions on query arguments.
    #[serde(default, deserialize_with = "predicates")]
    #[schema(schema_with = conditions)]
    pub query: Vec<Predicate>,
    /// Decides between routes of the same prefix and equally specific hosts; higher first.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub priority: i32,
    /// The service requests go to.
    #[serde(default, deserialize_with = "text")]
    pub service_name: String,
    /// The protocol towards the upstream.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether the route is on: `status` is 1.
    #[serde(rename = "status", default, deserialize_with = "lenient::status")]
    #[schema(value_type = u8, maximum = 1, default = 0)]
    pub enabled: bool,
    /// The names of its plugins.
    #[serde(default, deserialize_with = "lenient::strings")]
    pub plugins: Vec<String>,
    /// The plugins' settings, each under the plugin's name; and the flat ones of the first gateway.
    #[serde(default, deserialize_with = "lenient::object")]
    #[schema(value_type = Object)]
    pub props: Map<String, Value>,
    /// Timeouts of its own.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub timeouts: Timeouts,
    /// What is tried again, where it differs from the service's.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub retry: Retry,
    /// Largest request body in bytes; 0 = no limit.
    #[serde(default)]
    pub max_body_size: Option<u64>,
}

impl Route {
    /// Reads a stored route.
    ///
    /// # Errors
    /// When it is not JSON or a field is not what it should be.
    pub fn parse(value: &[u8]) -> Result<Self, Invalid> {
        let mut route: Self = from_json(value)?;
        route.prefix = route.prefix.trim().to_owned();
        route.service_name = route.service_name.trim().to_owned();
        route.timeouts.validate()?;
        route.retry.validate("retry")?;
        if route.prefix.is_empty() {
            return Err(Invalid::at("prefix", "must not be empty; expected a path such as /api/*"));
        }
        Ok(route)
    }

    /// Where an invalid route would have stood, as far as it can be read, so that its requests are
    /// refused instead of falling through to a looser route. `None` when it is off, or when not
    /// even the prefix can be read.
    pub fn place(value: &[u8]) -> Option<Place> {
        let value: Value = serde_json::from_slice(value).ok()?;
        if value.get("status").and_then(Value::as_f64) != Some(1.0) {
            return None;
        }
        let prefix = value.get("prefix")?.as_str()?.trim().to_owned();
        if prefix.is_empty() {
            return None;
        }
        let field = |name: &str| value.get(name).cloned().unwrap_or(Value::Null);
        let hosts = lenient::strings(field("hosts")).unwrap_or_default();
        let mut unreadable = false;
        let methods = methods(field("methods")).unwrap_or_else(|_| mark(&mut unreadable));
        let headers = predicates(field("headers")).unwrap_or_else(|_| mark(&mut unreadable));
        let query = predicates(field("query")).unwrap_or_else(|_| mark(&mut unreadable));
        let priority = match field("priority") {
            Value::Null => Some(0),
            other => other.as_i64().and_then(|n| i32::try_from(n).ok()),
        };
        let priority = priority.filter(|_| !unreadable);
        Some(Place { prefix, hosts, methods, headers, query, priority })
    }
}

/// Where a route stands among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path pattern.
    pub prefix: String,
    /// The hosts; all when empty.
    pub hosts: Vec<String>,
    /// The methods; all when empty.
    pub methods: Vec<Method>,
    /// Conditions on headers, those that can be read.
    pub headers: Vec<Predicate>,
    /// Conditions on query arguments, those that can be read.
    pub query: Vec<Predicate>,
    /// The priority; `None` when it, or a condition, cannot be read: then the route must come
    /// before every other of its prefix.
    pub priority: Option<i32>,
}

/// How a list of [`Predicate`] is written.
fn conditions() -> Schema {
    let equal = ObjectBuilder::new().schema_type(Type::String).description(Some("Its value is this."));
    ObjectBuilder::new()
        .additional_properties(Some(Schema::from(OneOfBuilder::new().item(equal).item(PredicateTest::schema()))))
        .description(Some("Conditions by name: a text that must be equal, or one test."))
        .into()
}

fn mark<T: Default>(unreadable: &mut bool) -> T {
    *unreadable = true;
    T::default()
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Method>, D::Error> {
    lenient::strings(deserializer)?
        .iter()
        .map(|name| {
            Method::from_bytes(name.trim().to_ascii_uppercase().as_bytes())
                .map_err(|_| serde::de::Error::custom(format!("\"{name}\" is not a method")))
        })
        .collect()
}

fn predicates<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Predicate>, D::Error> {
    lenient::object(deserializer)?
        .into_iter()
        .map(|(name, test)| {
            let test = match test {
                Value::String(exact) => Ok(PredicateTest::Exact(exact)),
                other => serde_json::from_value(other),
            };
            let test = test.map_err(|e| {
                serde::de::Error::custom(format!(
                    "\"{name}\": {e}; expected a text or one of {{\"exact\": …}}, {{\"prefix\": …}}, {{\"regex\": …}}, {{\"present\": true}}"
                ))
            })?;
            Ok(Predicate { name, test })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_of_the_first_gateway_is_read() {
        let route = Route::parse(
            br#"{"key":"968b","prefix":" /openapi/demo1/* ","hosts":{},"service_name":"demo1","protocol":"http","status":1,
                "plugins":["discovery","tracing","rewrite"],"props":{"rewrite_url_regex":"^/openapi/(.*)/","rewrite_replace":"/openapi/"},
                "remark":"","time":1649174854123}"#,
        )
        .unwrap();
        assert_eq!(route.prefix, "/openapi/demo1/*");
        assert!(route.enabled && route.hosts.is_empty());
        assert_eq!(route.plugins, ["discovery", "tracing", "rewrite"]);
        assert_eq!(route.props["rewrite_replace"], "/openapi/");
    }

    #[test]
    fn an_empty_object_is_an_empty_list_and_the_other_way_round() {
        let route = Route::parse(br#"{"prefix":"/a","hosts":{},"plugins":{},"props":[],"status":1}"#).unwrap();
        assert!(route.hosts.is_empty() && route.plugins.is_empty() && route.props.is_empty());
        assert_eq!(Route::parse(br#"{"prefix":"/a","hosts":"a.com"}"#).unwrap().hosts, ["a.com"]);
    }

    #[test]
    fn only_status_1_is_on() {
        for (status, on) in [("1", true), ("1.0", true), ("0", false), ("2", false), ("\"1\"", false), ("null", false)]
        {
            let route = Route::parse(format!(r#"{{"prefix":"/a","status":{status}}}"#).as_bytes()).unwrap();
            assert_eq!(route.enabled, on, "{status}");
        }
        assert!(!Route::parse(br#"{"prefix":"/a"}"#).unwrap().enabled);
    }

    #[test]
    fn errors_name_the_field_and_what_would_be_right() {
        for (value, message) in [
            (r#"{"prefix":"/a","protocol":"ftp"}"#, r#"protocol: "ftp" is no protocol; expected "http" or "grpc""#),
            (r#"{"prefix":" "}"#, "prefix: must not be empty; expected a path such as /api/*"),
            (r#"{"prefix":"/a","hosts":[1]}"#, "hosts: item 0 is 1, expected a text"),
            (r#"{"prefix":"/a","methods":["G T"]}"#, r#"methods: "G T" is not a method"#),
        ] {
            assert_eq!(Route::parse(value.as_bytes()).unwrap_err().to_string(), message);
        }
        assert!(
            Route::parse(br#"{"prefix":"/a","headers":{"x":{"like":"y"}}}"#)
                .unwrap_err()
                .to_string()
                .contains("expected a text or one of")
        );
    }

    #[test]
    fn the_place_of_a_broken_route_is_known_while_its_prefix_can_be_read() {
        let place =
            |json: &str| Route::place(json.as_bytes()).map(|p| (p.prefix, p.hosts, p.methods.len(), p.priority));
        let at = |hosts: &[&str], methods, priority| {
            Some(("/a/*".to_owned(), hosts.iter().map(ToString::to_string).collect(), methods, priority))
        };
        let broken = r#""prefix":"/a/*","status":1,"protocol":"ftp""#;
        assert_eq!(place(&format!("{{{broken},\"hosts\":[\"h\"]}}")), at(&["h"], 0, Some(0)));
        assert_eq!(place(&format!("{{{broken},\"hosts\":7}}")), at(&[], 0, Some(0)));
        assert_eq!(place(&format!("{{{broken},\"methods\":[\"GET\"],\"priority\":7}}")), at(&[], 1, Some(7)));
        assert_eq!(place(&format!("{{{broken},\"methods\":7,\"priority\":7}}")), at(&[], 0, None));
        assert_eq!(place(&format!("{{{broken},\"priority\":\"high\"}}")), at(&[], 0, None));
        assert_eq!(place(r#"{"prefix":"/a/*","status":0}"#), None);
        assert_eq!(place("{"), None);
    }
}
