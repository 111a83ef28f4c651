from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk.aws_certificatemanager import Certificate
from aws_cdk.aws_ec2 import SubnetConfiguration, SubnetType, Vpc
from aws_cdk.aws_ecs import (
    Cluster,
    ContainerImage,
    ContainerInsights,
    DeploymentCircuitBreaker,
    FargateService,
    FargateTaskDefinition,
    PortMapping,
    Secret,
)
from aws_cdk.aws_elasticloadbalancingv2 import ApplicationLoadBalancer, ListenerAction, ListenerCondition, SslPolicy
from aws_cdk.aws_route53 import HostedZone
from aws_cdk.aws_ssm import StringParameter
from cdk_secure_mlflow import AuthProvider, DatabaseCapacity, SecureMlflow, TokenIssuer

# Replace domains, zone, certificate, client id and parameter name.
app = App()

# The existing part: a network, a load balancer and a cluster that services share.
shared = Stack(app, "Shared")
vpc = Vpc(
    shared,
    "Vpc",
    max_azs=2,
    nat_gateways=0,
    restrict_default_security_group=False,  # this would need a Lambda function
    subnet_configuration=[
        SubnetConfiguration(name="Public", subnet_type=SubnetType.PUBLIC, map_public_ip_on_launch=False),
        SubnetConfiguration(name="Database", subnet_type=SubnetType.PRIVATE_ISOLATED),
    ],
)
load_balancer = ApplicationLoadBalancer(
    shared,
    "LoadBalancer",
    vpc=vpc,
    internet_facing=True,
    idle_timeout=Duration.minutes(15),  # long uploads
    drop_invalid_header_fields=True,
)
load_balancer.add_redirect()
certificate_arn = "arn:aws:acm:eu-central-1:111122223333:certificate/11111111-2222-3333-4444-555555555555"
listener = load_balancer.add_listener(
    "Https",
    port=443,
    certificates=[Certificate.from_certificate_arn(shared, "Certificate", certificate_arn)],
    ssl_policy=SslPolicy.RECOMMENDED_TLS,  # 1.2 or newer
    default_action=ListenerAction.fixed_response(404),
)
listener.set_attribute("routing.http.response.strict_transport_security.header_value", "max-age=31536000")
cluster = Cluster(shared, "Cluster", vpc=vpc, container_insights_v2=ContainerInsights.DISABLED)

# Another service at the same listener.
other_task = FargateTaskDefinition(shared, "OtherTask")
other_task.add_container(
    "nginx",
    image=ContainerImage.from_registry("public.ecr.aws/nginx/nginx:stable"),
    port_mappings=[PortMapping(container_port=80)],
)
other = FargateService(
    shared,
    "Other",
    cluster=cluster,
    task_definition=other_task,
    desired_count=1,
    min_healthy_percent=100,
    circuit_breaker=DeploymentCircuitBreaker(rollback=True),
    assign_public_ip=True,
)
listener.add_targets(
    "Other", priority=1, conditions=[ListenerCondition.host_headers(["other.example.com"])], port=80, targets=[other]
)

# MLflow at the same listener.
stack = Stack(app, "MlflowSharedLoadBalancer")
mlflow = SecureMlflow(
    stack,
    "Mlflow",
    vpc=vpc,
    listener=listener,
    listener_priority=100,
    cluster=cluster,
    database_capacity=DatabaseCapacity(max_acus=1, pause_after=Duration.minutes(5)),
    cpu=256,
    memory_limit_mib=1024,
    workers=1,
    domain_name="mlflow.example.com",
    hosted_zone=HostedZone.from_hosted_zone_attributes(
        stack, "Zone", zone_name="example.com", hosted_zone_id="Z0123456789EXAMPLE"
    ),
    auth_provider=AuthProvider.google(
        client_id="1234.apps.googleusercontent.com",
        client_secret=Secret.from_ssm_parameter(
            StringParameter.from_secure_string_parameter_attributes(stack, "OAuth", parameter_name="/mlflow/oauth-client-secret")
        ),
    ),
    email_domains=["example.com"],
    trusted_token_issuers=[TokenIssuer.gcloud()],
)
CfnOutput(stack, "MlflowUri", value=mlflow.url)
app.synth()
