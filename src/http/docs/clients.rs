//! What generators of clients need: the same API in words that all of them take.

use std::collections::BTreeMap;

use utoipa::openapi::{
    Object, OneOfBuilder, OpenApi, Ref, RefOr, Required, Schema,
    path::{Parameter, ParameterIn},
    request_body::RequestBody,
    schema::{ArrayItems, Components, Discriminator, SchemaType, Type},
};

use crate::quotes::CurrencyCode;

/// The field that tells the entries of a timeline apart.
const TAG: &str = "what";
/// Text without control characters ([`crate::printable::check`]).
const PRINTABLE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// Visible ASCII.
const HEADER: &str = "^[!-~]+$";
/// What [`crate::printable::check_identifier`] accepts, as far as it is in the Basic Multilingual Plane.
const IDENTIFIER: &str = r"^[^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff]*$";

/// Rewrites `document` without changing what it allows.
pub(super) fn fit(document: &mut OpenApi) {
    let paths = document.paths.paths.values_mut();
    let mut bodies = Vec::new();
    for operation in paths.flat_map(|path| [&mut path.get, &mut path.post]).flatten() {
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter {
                restrict_parameter(parameter);
            }
        }
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            leave_out(body);
            let contents = body.content.values();
            let schemas =
                contents.filter_map(|content| if let RefOr::T(it) = content { it.schema.clone() } else { None });
            bodies.extend(schemas.filter_map(|schema| name(&schema)));
        }
    }
    if let Some(components) = &mut document.components {
        while let Some(body) = bodies.pop() {
            bodies.extend(restrict_body(components, &body));
        }
        spell_out_timeline(components);
    }
}

/// Says which text a parameter takes.
fn restrict_parameter(parameter: &mut Parameter) {
    if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema {
        restrict(object, if parameter.parameter_in == ParameterIn::Header { HEADER } else { PRINTABLE });
    }
}

/// Says which text the fields of a body take; returns the schemas that it refers to.
fn restrict_body(components: &mut Components, body: &str) -> Vec<String> {
    let mut others = Vec::new();
    let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(body) else { return others };
    for (field, schema) in &mut body.properties {
        match schema {
            RefOr::T(Schema::Object(object)) => {
                if field == "currency" {
                    object.pattern = Some(CurrencyCode::pattern());
                }
                restrict(object, if field == "customer_id" { IDENTIFIER } else { PRINTABLE });
            }
            RefOr::T(Schema::Array(array)) => {
                if let ArrayItems::RefOrSchema(items) = &array.items {
                    others.extend(name(items));
                }
            }
            _ => {}
        }
    }
    others
}

/// Says which text `object` takes, if it takes any, and nothing says so yet.
fn restrict(object: &mut Object, pattern: &str) {
    let is_text = match &object.schema_type {
        SchemaType::Type(kind) => *kind == Type::String,
        SchemaType::Array(kinds) => kinds.contains(&Type::String),
        SchemaType::AnyValue => false,
    };
    if is_text && object.pattern.is_none() && object.format.is_none() && object.enum_values.is_none() {
        object.pattern = Some(pattern.to_owned());
    }
}

/// The component that a reference names.
fn name(schema: &RefOr<Schema>) -> Option<String> {
    let RefOr::Ref(reference) = schema else { return None };
    reference.ref_location.rsplit('/').next().map(str::to_owned)
}

/// A body that may be `null` may be left out instead: generated clients can do that, and cannot always send `null`.
fn leave_out(body: &mut RequestBody) {
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content
            && let Some(RefOr::T(Schema::OneOf(choice))) = &content.schema
            && let Some(reference @ RefOr::Ref(_)) = choice.items.first().cloned()
        {
            content.schema = Some(reference);
            body.required = Some(Required::False);
        }
    }
}

/// Replaces "one of these, and `at`" by one of these with `at` in each. Several generators drop an `allOf` that holds a
/// `oneOf`.
fn spell_out_timeline(components: &mut Components) {
    let schemas = &mut components.schemas;
    let (Some(RefOr::T(Schema::OneOf(events))), Some(RefOr::T(Schema::AllOf(entry)))) =
        (schemas.remove("TimelineEvent"), schemas.remove("TimelineEntry"))
    else {
        return;
    };
    let common: Vec<Object> = entry.items.into_iter().filter_map(object).collect();
    let mut discriminator = Discriminator::new(TAG);
    let mut entries = OneOfBuilder::new().description(entry.description);
    for mut event in events.items.into_iter().filter_map(object) {
        let Some(what) = tag(&event.properties) else { continue };
        let name = format!("Timeline{}", in_camel_case(&what));
        for part in &common {
            event.properties.extend(part.properties.clone());
            event.required.extend(part.required.clone());
        }
        entries = entries.item(Ref::from_schema_name(&name));
        discriminator.mapping.insert(what, format!("#/components/schemas/{name}"));
        schemas.insert(name, RefOr::T(Schema::Object(event)));
    }
    schemas.insert("TimelineEntry".into(), RefOr::T(entries.discriminator(Some(discriminator)).build().into()));
}

fn object(schema: RefOr<Schema>) -> Option<Object> {
    match schema {
        RefOr::T(Schema::Object(object)) => Some(object),
        _ => None,
    }
}

fn tag(properties: &BTreeMap<String, RefOr<Schema>>) -> Option<String> {
    let Some(RefOr::T(Schema::Object(tag))) = properties.get(TAG) else { return None };
    Some(tag.enum_values.as_ref()?.first()?.as_str()?.to_owned())
}

fn in_camel_case(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}
