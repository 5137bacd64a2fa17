//! The kinds of objects that operators declare. A kind is a line in [`KINDS`]; what is done with
//! objects is the same for all of them.

use serde_json::{Map, Value};

use super::auth::Rights;
use super::openapi::Shape;
use super::write::Refused;
use super::{Admin, write};
use crate::history::Written;
use crate::history::fields::{Field, differing};
use crate::resource::{
    Certificate, GlobalPlugin, Invalid, Node, NodeOverlay, Route, Service, chain_summary, key, stored,
};
use crate::secret::Secrets;
use crate::store::Kv;

/// Stands for a secret in what is shown. In what is written it means the one that is stored.
pub(super) const UNCHANGED: &str = "unchanged";

/// An object.
pub(super) type Object = Map<String, Value>;

/// A kind of object.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its place in paths and documents.
    pub(super) path: &'static str,
    /// Its family of keys.
    pub(super) family: &'static str,
    /// What is never shown, as JSON pointers.
    secrets: &'static [&'static str],
    /// Whether its secrets are encrypted in the store.
    is_sealed: bool,
    /// A field that is made of the object when it is shown, and where.
    pub(super) derived: Option<Derived>,
    /// Whether it has its key and the time of its change in it, as in the first gateway.
    pub(super) is_stamped: bool,
    /// The service it belongs to, by its name and content.
    service: fn(&str, &Object) -> Option<String>,
    /// The names it may have when it is created without one; the first that is free is taken.
    pub(super) names: Naming,
    /// What it is, in a sentence.
    pub(super) about: &'static str,
    /// Its form.
    pub(super) shape: Shape,
}

/// A field that is made of the object.
pub(super) type Derived = (&'static str, fn(&Value) -> Value);

/// How an object gets its name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Naming {
    /// Who makes it names it.
    Given,
    /// It may be given; otherwise it is the first of these that is free.
    Derived(fn(&Object) -> Vec<String>),
    /// It follows from the content.
    Fixed(fn(&Object) -> String),
}

/// The kinds there are, in the order in which documents show them.
pub(super) static KINDS: [Kind; 6] = [
    Kind {
        path: "routes",
        family: key::ROUTES,
        secrets: &[],
        is_sealed: false,
        derived: None,
        is_stamped: true,
        service: |_, object| text(object, "service_name"),
        names: Naming::Derived(route_names),
        about: "Which requests go to which service, through which plugins.",
        shape: Shape::of::<Route>(),
    },
    Kind {
        path: "services",
        family: key::SERVICES,
        secrets: &["/tls/key"],
        is_sealed: true,
        derived: None,
        is_stamped: false,
        service: |name, _| Some(name.to_owned()),
        names: Naming::Given,
        about: "How the nodes of a service are chosen, reached, watched and spared.",
        shape: Shape::of::<Service>(),
    },
    Kind {
        path: "nodes",
        family: key::NODES,
        secrets: &[],
        is_sealed: false,
        derived: None,
        is_stamped: true,
        service: |name, object| text(object, "service_name").or_else(|| key::service_of_node(name).map(str::to_owned)),
        names: Naming::Fixed(|object| {
            key::node(&text(object, "service_name").unwrap_or_default(), &text(object, "upstream").unwrap_or_default())
        }),
        about: "Where services listen. Those that services register themselves are shown, and not changed here.",
        shape: Shape::of::<Node>(),
    },
    Kind {
        path: "node-overlays",
        family: key::OVERLAYS,
        secrets: &[],
        is_sealed: false,
        derived: None,
        is_stamped: false,
        service: |name, _| key::service_of_node(name).map(str::to_owned),
        names: Naming::Given,
        about: "An operator's word on a node, whoever registered it: its weight, and whether it takes requests.",
        shape: Shape::of::<NodeOverlay>(),
    },
    Kind {
        path: "global-plugins",
        family: key::PLUGINS,
        secrets: &[],
        is_sealed: false,
        derived: None,
        is_stamped: false,
        service: |_, _| None,
        names: Naming::Given,
        about: "Plugins that run on every route.",
        shape: Shape::of::<GlobalPlugin>(),
    },
    Kind {
        path: "certificates",
        family: key::CERTIFICATES,
        secrets: &["/key"],
        is_sealed: true,
        derived: Some(("details", certificate_details)),
        is_stamped: false,
        service: |_, _| None,
        names: Naming::Derived(|_| vec![uuid::Uuid::now_v7().to_string()]),
        about: "Certificates that clients are shown by host, with their keys, which are stored encrypted.",
        shape: Shape::of::<Certificate>(),
    },
];

/// The kind of a path.
pub(super) fn kind(path: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.path == path)
}

/// The kind of a key without the data prefix, and the object's name.
pub(super) fn of_key(key: &str) -> Option<(&'static Kind, &str)> {
    KINDS.iter().find_map(|kind| Some((kind, key.strip_prefix(kind.family)?)))
}

impl Kind {
    /// The key of an object, without the data prefix.
    pub(super) fn key(&self, name: &str) -> Result<String, Invalid> {
        let is_fine = !name.is_empty() && name.len() <= 256 && !name.chars().any(|c| c == '/' || c.is_control());
        is_fine.then(|| format!("{}{name}", self.family)).ok_or_else(|| {
            Invalid::at("", format!("\"{name}\": a name has 1 to 256 bytes, without `/` and control characters"))
        })
    }

    /// A stored value as it is shown.
    pub(super) fn shown(&self, value: &[u8]) -> Value {
        let mut value = serde_json::from_slice(value)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(value).into_owned()));
        if !self.secrets.is_empty() && !value.is_object() {
            // Where its secrets are cannot be told.
            return "(not a JSON object, and not shown: there may be a secret in it)".into();
        }
        for at in self.secrets {
            if let Some(secret) = value.pointer_mut(at) {
                *secret = UNCHANGED.into();
            }
        }
        if let (Some((name, derive)), Value::Object(_)) = (self.derived, &value) {
            value[name] = derive(&value);
        }
        value
    }

    /// A stored value as a document declares it: without what the gateway adds.
    pub(super) fn declared(&self, value: &[u8]) -> Value {
        let mut value = self.shown(value);
        if let Value::Object(object) = &mut value {
            self.strip(object);
        }
        value
    }

    fn strip(&self, object: &mut Object) {
        if let Some((name, _)) = self.derived {
            object.shift_remove(name);
        }
        if self.is_stamped {
            object.shift_remove("key");
            object.shift_remove("time");
        }
    }

    /// What is stored of an object that an operator declares; `None` when that is there already.
    /// `before` is what is there.
    pub(super) fn stored(
        &self,
        admin: &Admin,
        name: &str,
        mut object: Object,
        before: Option<&Kv>,
    ) -> Result<Option<Vec<u8>>, Refused> {
        self.check_name(name, &object)?;
        self.check_labels(&object)?;
        let key = self.key(name)?;
        self.strip(&mut object);
        if self.is_stamped {
            stored::tidy(&mut object);
        }
        let before: Option<Value> = before.and_then(|kv| serde_json::from_slice(&kv.value).ok());
        let mut value = Value::Object(object);
        for at in self.secrets {
            keep_secret(&mut value, before.as_ref(), at)?;
            if self.is_sealed {
                seal(admin, &key, &mut value, before.as_ref(), at)?;
            }
        }
        if before.is_some_and(|before| self.is_same(before, &value)) {
            return Ok(None);
        }
        if let (true, Value::Object(object)) = (self.is_stamped, &mut value) {
            object.insert("key".into(), name.into());
            object.insert("time".into(), write::now_ms().into());
        }
        let value = value.to_string().into_bytes();
        admin.check(&key, &value)?;
        Ok(Some(value))
    }

    fn is_same(&self, mut before: Value, after: &Value) -> bool {
        if let Value::Object(object) = &mut before {
            self.strip(object);
        }
        before == *after
    }

    fn check_name(&self, name: &str, object: &Object) -> Result<(), Refused> {
        let Naming::Fixed(fixed) = self.names else { return Ok(()) };
        let right = fixed(object);
        if right == name {
            return Ok(());
        }
        Err(Refused::Change(format!("the name of this object is {right:?}, which follows from its content")))
    }

    fn check_labels(&self, object: &Object) -> Result<(), Refused> {
        match object.get("labels") {
            None => Ok(()),
            Some(Value::Object(labels)) if labels.values().all(Value::is_string) => Ok(()),
            Some(_) => Err(Invalid::at("labels", "must be an object of texts, such as {\"team\": \"shop\"}").into()),
        }
    }

    /// Whether the rights reach to an object, as it is or will be.
    pub(super) fn allows(&self, rights: &Rights, name: &str, object: &Object) -> Result<(), Refused> {
        let may = match (self.service)(name, object) {
            Some(service) => rights.may_edit(&service),
            None => rights.may_edit_everything(),
        };
        if may { Ok(()) } else { Err(Refused::Forbidden(format!("{}/{name}", self.path))) }
    }

    /// The same, of what is stored.
    pub(super) fn allows_stored(&self, rights: &Rights, name: &str, stored: Option<&Kv>) -> Result<(), Refused> {
        let Some(kv) = stored else { return Ok(()) };
        let object = serde_json::from_slice(&kv.value).unwrap_or_default();
        self.allows(rights, name, &object)
    }

    fn fields(&self, written: &Written) -> Vec<Field> {
        let shown = |value: &Option<bytes::Bytes>| value.as_ref().map_or(Value::Null, |value| self.declared(value));
        let mut fields = differing(&shown(&written.before), &shown(&written.after));
        fields.extend(self.secrets.iter().filter_map(|at| changed_secret(written, at)));
        fields
    }
}

/// What a change of a key comes to, for people: its object, and the fields in which it differs.
pub(super) fn described(written: &Written) -> Value {
    let action = match (&written.before, &written.after) {
        (None, _) => "create",
        (_, None) => "delete",
        _ => "update",
    };
    match of_key(&written.key) {
        Some((kind, name)) => {
            let mut described = serde_json::json!({"kind": kind.path, "name": name, "action": action});
            described["fields"] = serde_json::to_value(kind.fields(written)).unwrap_or_default();
            described
        }
        None => serde_json::json!({"kind": "other", "name": written.key, "action": action, "fields": []}),
    }
}

/// Tells that a secret was changed, without it.
fn changed_secret(written: &Written, at: &str) -> Option<Field> {
    let secret = |value: &Option<bytes::Bytes>| -> Option<Value> {
        serde_json::from_slice::<Value>(value.as_ref()?).ok()?.pointer(at).cloned()
    };
    let (before, after) = (secret(&written.before)?, secret(&written.after)?);
    let hidden = |text: &str| Some(Value::from(text));
    (before != after).then(|| Field { path: path(at), before: hidden("(a secret)"), after: hidden("(another secret)") })
}

/// A JSON pointer as errors name fields.
fn path(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

fn text(object: &Object, field: &str) -> Option<String> {
    object.get(field).and_then(Value::as_str).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The first route of a prefix is named by it, a further one by its hosts too.
fn route_names(object: &Object) -> Vec<String> {
    let prefix = text(object, "prefix").unwrap_or_default();
    let hosts: Vec<String> = match object.get("hosts") {
        Some(Value::String(host)) => vec![host.clone()],
        Some(Value::Array(hosts)) => hosts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let unique = uuid::Uuid::now_v7().simple().to_string();
    vec![key::route(&prefix), key::route_with_hosts(&prefix, &hosts), unique]
}

/// What a certificate says, for who cannot read it in PEM.
fn certificate_details(object: &Value) -> Value {
    let summary = chain_summary(object["cert"].as_str().unwrap_or_default().as_bytes());
    let Ok(summary) = summary else { return Value::Null };
    let ends_in = summary.remaining(std::time::SystemTime::now());
    let mut details = serde_json::to_value(summary).unwrap_or_default();
    details["ends_in_seconds"] = ends_in.into();
    details
}

/// A secret that is said to be unchanged is taken from what is stored.
fn keep_secret(value: &mut Value, before: Option<&Value>, at: &str) -> Result<(), Refused> {
    let Some(secret) = value.pointer_mut(at).filter(|secret| secret.as_str() == Some(UNCHANGED)) else {
        return Ok(());
    };
    let stored = before
        .and_then(|before| before.pointer(at))
        .ok_or_else(|| Invalid::at(path(at), format!("is \"{UNCHANGED}\", but none is stored")))?;
    *secret = stored.clone();
    Ok(())
}

/// Encrypts a secret. One that is stored already keeps its ciphertext, which is another one each time it is made: what
/// did not change would be a change.
fn seal(admin: &Admin, key: &str, value: &mut Value, before: Option<&Value>, at: &str) -> Result<(), Refused> {
    let Some(secret) = value.pointer_mut(at) else { return Ok(()) };
    // A file is named, not shown.
    let is_plain = |text: &&str| !Secrets::is_sealed(text) && !text.starts_with("file:");
    let Some(plain) = secret.as_str().filter(is_plain) else { return Ok(()) };
    let stored = before.and_then(|before| before.pointer(at)?.as_str());
    if let Some(stored) = stored.filter(|stored| (admin.deps.open)(key, stored).is_ok_and(|known| known == plain)) {
        *secret = stored.into();
        return Ok(());
    }
    let sealed = (admin.deps.seal)(key, plain);
    *secret = sealed.map_err(|e| Invalid::at(path(at), e))?.into();
    Ok(())
}
