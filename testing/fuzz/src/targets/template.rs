//! A CloudFormation template as text: it is parsed, resolved and described, or refused with a position. The result is
//! deterministic.

use emulator::{
    stack::Integration,
    template::{Template, TemplateError},
};

use crate::functions::deployment;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => return refused(&error),
    };
    let mut deployment = deployment();
    deployment.parameters.retain(|name, _| template.parameters().contains_key(name));
    if let Ok(resources) = template.resolved(&deployment) {
        assert!(resources.keys().all(|id| template.resources().contains_key(id)));
        let again = template.resolved(&deployment).expect("it was resolved a moment ago");
        assert_eq!(again, resources);
    }
    match template.resolve(&deployment) {
        Ok(stack) => {
            let function = |name: &String| stack.functions.iter().any(|function| function.name == *name);
            assert!(stack.rest_api.methods.iter().all(|method| match &method.integration {
                Integration::LambdaProxy { function: name, .. } => function(name),
                Integration::Mock { .. } => true,
            }));
            assert!(stack.websocket_api.routes.iter().all(|route| function(&route.function)));
            assert!(stack.event_source_mappings.iter().all(|mapping| function(&mapping.function)));
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &TemplateError) {
    let told = error.to_string();
    assert!(!told.is_empty());
    if let TemplateError::Invalid { at, problem, .. } = error {
        assert!(!problem.is_empty(), "{at}");
    }
}
