//! Links the resources: each one that is named by another must exist.

use std::{collections::BTreeMap, mem};

use super::{
    Result,
    parts::{Parts, reference},
};
use crate::{
    stack::{Grant, Integration, Method, RestApi, Route, Stack, WebSocketApi},
    template::{Deployment, TemplateError, evaluate::ROOT_RESOURCE},
};

impl Parts {
    /// Returns the linked stack.
    pub(super) fn into_stack(
        mut self,
        deployment: &Deployment,
        grants: BTreeMap<String, Vec<Grant>>,
        outputs: BTreeMap<String, String>,
    ) -> Result<Stack> {
        let missing = |what: &str| TemplateError::at("Resources", format!("the local run needs one {what}"));
        self.link_async_invokes()?;
        self.check_mappings()?;
        self.check_schedules()?;
        let methods = self.link_methods()?;
        let routes = self.link_routes()?;
        let (_, rest_id) = self.rest.ok_or_else(|| missing("AWS::ApiGateway::RestApi"))?;
        let (socket_id, expression) = self.socket.ok_or_else(|| missing("AWS::ApiGatewayV2::Api"))?;
        Ok(Stack {
            name: deployment.stack_name.clone(),
            region: deployment.region.clone(),
            account_id: deployment.account_id.clone(),
            tables: self.tables,
            queues: self.queues,
            functions: self.functions,
            event_source_mappings: self.mappings,
            grants,
            schedules: self.schedules,
            rest_api: RestApi {
                id: rest_id,
                stage: self.rest_stage.ok_or_else(|| missing("AWS::ApiGateway::Stage"))?,
                methods,
                gateway_responses: self.gateway_responses,
            },
            websocket_api: WebSocketApi {
                id: socket_id,
                route_selection_expression: expression,
                stage: self.socket_stage.ok_or_else(|| missing("AWS::ApiGatewayV2::Stage"))?,
                routes,
            },
            outputs,
        })
    }

    fn has_function(&self, name: &str) -> bool {
        self.functions.iter().any(|known| known.name == name)
    }

    fn link_async_invokes(&mut self) -> Result<()> {
        for (id, function, config) in mem::take(&mut self.async_invokes) {
            let known = self.functions.iter_mut().find(|known| known.name == function);
            known.ok_or_else(|| unknown(&id, "FunctionName", &function))?.async_invoke = config;
        }
        Ok(())
    }

    fn check_mappings(&self) -> Result<()> {
        for mapping in &self.mappings {
            if !self.has_function(&mapping.function) {
                return Err(unknown(&mapping.logical_id, "FunctionName", &mapping.function));
            }
            if !self
                .tables
                .iter()
                .any(|table| table.name == mapping.table && table.create_request.get("StreamSpecification").is_some())
            {
                return Err(unknown(&mapping.logical_id, "EventSourceArn", &mapping.table));
            }
        }
        Ok(())
    }

    fn check_schedules(&self) -> Result<()> {
        for schedule in &self.schedules {
            if let Some(function) = schedule.functions.iter().find(|name| !self.has_function(name)) {
                return Err(unknown(&schedule.logical_id, "Targets", function));
            }
        }
        Ok(())
    }

    /// Returns the methods with their paths.
    fn link_methods(&mut self) -> Result<Vec<Method>> {
        let mut methods = Vec::new();
        for (id, mut method) in mem::take(&mut self.methods) {
            method.path = path(&id, &self.paths, &method.resource_id)?;
            if let Integration::LambdaProxy { function, .. } = &method.integration
                && !self.has_function(function)
            {
                return Err(unknown(&id, "Integration.Uri", function));
            }
            methods.push(method);
        }
        Ok(methods)
    }

    /// Returns the routes with their functions and throttles.
    fn link_routes(&mut self) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for (id, mut route, target) in mem::take(&mut self.routes) {
            let (function, timeout) = self.integrations.get(&target).ok_or_else(|| unknown(&id, "Target", &target))?;
            if !self.has_function(function) {
                return Err(unknown(&id, "Target", function));
            }
            route.function.clone_from(function);
            route.timeout = *timeout;
            route.responds = self.route_responses.contains(&reference(&id));
            route.throttle = self.throttles.remove(&route.route_key);
            routes.push(route);
        }
        // API Gateway's message for a key without a route.
        if let Some(key) = self.throttles.keys().next() {
            return Err(TemplateError::at("RouteSettings", format!("Unable to find Route by key {key}")));
        }
        Ok(routes)
    }
}

fn path(id: &str, paths: &BTreeMap<String, (String, String)>, resource: &str) -> Result<String> {
    let mut path = String::new();
    let mut current = resource;
    for steps in 0.. {
        if current == ROOT_RESOURCE {
            break;
        }
        // Parents may be given as text, and a cycle of them is not found by the check of references.
        if steps > paths.len() {
            return Err(TemplateError::at(format!("{id}.Properties.ResourceId"), "its parents go in a circle"));
        }
        let (parent, part) = paths.get(current).ok_or_else(|| unknown(id, "ResourceId", current))?;
        path = format!("/{part}{path}");
        current = parent;
    }
    Ok(if path.is_empty() { "/".into() } else { path })
}

fn unknown(id: &str, property: &str, what: &str) -> TemplateError {
    TemplateError::at(format!("{id}.Properties.{property}"), format!("{what} is not in this template"))
}
