from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk.aws_ecs import ContainerInsights, Secret
from aws_cdk.aws_route53 import HostedZone
from aws_cdk.aws_ssm import StringParameter
from cdk_secure_mlflow import AuthProvider, DatabaseCapacity, SecureMlflow, TokenIssuer

# Replace domain, zone, client id and parameter name.
app = App()
stack = Stack(app, "MlflowCheapest")
mlflow = SecureMlflow(
    stack,
    "Mlflow",
    nat_gateways=0,
    database_capacity=DatabaseCapacity(max_acus=1, pause_after=Duration.minutes(5)),
    cpu=256,
    memory_limit_mib=1024,
    workers=1,
    container_insights=ContainerInsights.DISABLED,  # its metrics cost more than this task
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
