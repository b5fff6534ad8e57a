//! What generators of clients need: the same API in words that all of them take.

use std::collections::BTreeMap;

use utoipa::openapi::{
    Object, OneOfBuilder, OpenApi, Ref, RefOr, Schema,
    request_body::RequestBody,
    schema::{Components, Discriminator},
};

/// The field that tells the entries of a timeline apart.
const TAG: &str = "what";

/// Rewrites `document` without changing what it allows.
pub(super) fn fit(document: &mut OpenApi) {
    let paths = document.paths.paths.values_mut();
    for operation in paths.flat_map(|path| [&mut path.get, &mut path.post]).flatten() {
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            leave_out(body);
        }
    }
    if let Some(components) = &mut document.components {
        spell_out_timeline(components);
    }
}

/// A body that may be `null` may be left out instead: generated clients can do that, and cannot always send `null`.
fn leave_out(body: &mut RequestBody) {
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content
            && let Some(RefOr::T(Schema::OneOf(choice))) = &content.schema
            && let Some(reference @ RefOr::Ref(_)) = choice.items.first().cloned()
        {
            content.schema = Some(reference);
            body.required = Some(utoipa::openapi::Required::False);
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
