//! The resources that have been read, before they are linked.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Result, apis,
    functions::{async_invoke, function, mapping, schedule},
    tables::{queue, table},
};
use crate::{
    stack::{
        AsyncInvoke, EventSourceMapping, Function, GatewayResponse, Method, Queue, Route, Schedule, Table, Throttle,
    },
    template::{TemplateError, evaluate::Evaluator, properties::Properties},
};

/// The resources by type.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) tables: Vec<Table>,
    pub(super) queues: Vec<Queue>,
    pub(super) functions: Vec<Function>,
    pub(super) mappings: Vec<EventSourceMapping>,
    pub(super) schedules: Vec<Schedule>,
    pub(super) async_invokes: Vec<(String, String, AsyncInvoke)>,
    pub(super) rest: Option<(String, String)>,
    pub(super) rest_stage: Option<String>,
    /// Parent id and path part by resource id.
    pub(super) paths: BTreeMap<String, (String, String)>,
    pub(super) methods: Vec<(String, Method)>,
    pub(super) gateway_responses: Vec<GatewayResponse>,
    pub(super) socket: Option<(String, String)>,
    pub(super) socket_stage: Option<String>,
    /// Settings on the stage by route key.
    pub(super) throttles: BTreeMap<String, Throttle>,
    /// Function and timeout by integration id.
    pub(super) integrations: BTreeMap<String, (String, Duration)>,
    /// Logical id, route and integration id.
    pub(super) routes: Vec<(String, Route, String)>,
    pub(super) route_responses: Vec<String>,
}

impl Parts {
    /// Reads one resource.
    pub(super) fn read(&mut self, evaluator: &Evaluator<'_>, id: &str, kind: &str, p: &mut Properties) -> Result<()> {
        match kind {
            "AWS::DynamoDB::Table" => self.tables.push(table(evaluator, id, p)?),
            "AWS::SQS::Queue" => self.queues.push(queue(evaluator, id, p)?),
            "AWS::Lambda::Function" => self.functions.push(function(evaluator, id, p)?),
            "AWS::Lambda::EventInvokeConfig" => {
                let (function, config) = async_invoke(p)?;
                self.async_invokes.push((id.into(), function, config));
            }
            "AWS::Lambda::EventSourceMapping" => self.mappings.push(mapping(id, p)?),
            "AWS::Events::Rule" => self.schedules.push(schedule(evaluator, id, p)?),
            "AWS::ApiGateway::RestApi" => self.read_rest_api(id, p)?,
            "AWS::ApiGateway::Stage" => self.read_rest_stage(id, p)?,
            "AWS::ApiGateway::Resource" => self.read_path(id, p)?,
            "AWS::ApiGateway::Method" => self.methods.push((id.into(), apis::method(p)?)),
            "AWS::ApiGateway::GatewayResponse" => self.gateway_responses.push(apis::gateway_response(p)?),
            "AWS::ApiGatewayV2::Api" => self.read_socket_api(id, p)?,
            "AWS::ApiGatewayV2::Stage" => self.read_socket_stage(id, p)?,
            "AWS::ApiGatewayV2::Integration" => {
                self.integrations.insert(reference(id), apis::integration(p)?);
            }
            "AWS::ApiGatewayV2::Route" => {
                let (route, integration) = apis::route(p)?;
                self.routes.push((id.into(), route, integration));
            }
            "AWS::ApiGatewayV2::RouteResponse" => self.read_route_response(p)?,
            "" => return Err(TemplateError::at(format!("{id}.Type"), "is required")),
            other => {
                return Err(TemplateError::at(
                    format!("{id}.Type"),
                    format!("{other} is not supported by the local run"),
                ));
            }
        }
        Ok(())
    }

    fn read_rest_api(&mut self, id: &str, p: &mut Properties) -> Result<()> {
        p.ignore(&["Name", "Description", "EndpointConfiguration"]);
        only_one(id, self.rest.replace((id.into(), reference(id))).is_some())
    }

    fn read_rest_stage(&mut self, id: &str, p: &mut Properties) -> Result<()> {
        p.required("RestApiId")?;
        p.ignore(&["DeploymentId", "AccessLogSetting", "MethodSettings", "TracingEnabled"]);
        only_one(id, self.rest_stage.replace(p.required_text("StageName")?).is_some())
    }

    fn read_path(&mut self, id: &str, p: &mut Properties) -> Result<()> {
        p.required("RestApiId")?;
        let place = (p.required_text("ParentId")?, p.required_text("PathPart")?);
        self.paths.insert(reference(id), place);
        Ok(())
    }

    fn read_socket_api(&mut self, id: &str, p: &mut Properties) -> Result<()> {
        p.exactly("ProtocolType", "WEBSOCKET")?;
        p.ignore(&["Name", "Description"]);
        let expression = p.required_text("RouteSelectionExpression")?;
        only_one(id, self.socket.replace((reference(id), expression)).is_some())
    }

    fn read_socket_stage(&mut self, id: &str, p: &mut Properties) -> Result<()> {
        p.required("ApiId")?;
        p.ignore(&["AutoDeploy", "AccessLogSettings", "DefaultRouteSettings"]);
        if let Some(settings) = p.nested("RouteSettings")? {
            self.throttles = settings.each(apis::throttle)?;
        }
        only_one(id, self.socket_stage.replace(p.required_text("StageName")?).is_some())
    }

    fn read_route_response(&mut self, p: &mut Properties) -> Result<()> {
        p.required("ApiId")?;
        p.exactly("RouteResponseKey", "$default")?;
        self.route_responses.push(p.required_text("RouteId")?);
        Ok(())
    }
}

/// Returns the value of `Ref` to a resource.
pub(super) fn reference(id: &str) -> String {
    id.to_ascii_lowercase()
}

fn only_one(id: &str, second: bool) -> Result<()> {
    if second { Err(TemplateError::at(id, "the local run supports one of this type")) } else { Ok(()) }
}
