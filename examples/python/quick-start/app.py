from aws_cdk import App, CfnOutput, Stack
from aws_cdk.aws_ecs import Secret
from aws_cdk.aws_route53 import HostedZone
from aws_cdk import aws_secretsmanager as secretsmanager
from cdk_secure_mlflow import AuthProvider, SecureMlflow, TokenIssuer

# Replace domain, zone, client id, e-mail domains and secret name.
app = App()
stack = Stack(app, "MlflowQuickStart")
mlflow = SecureMlflow(
    stack,
    "Mlflow",
    domain_name="mlflow.example.com",
    hosted_zone=HostedZone.from_hosted_zone_attributes(
        stack, "Zone", zone_name="example.com", hosted_zone_id="Z0123456789EXAMPLE"
    ),
    auth_provider=AuthProvider.google(
        client_id="1234.apps.googleusercontent.com",
        client_secret=Secret.from_secrets_manager(
            secretsmanager.Secret.from_secret_name_v2(stack, "OAuth", "mlflow/oauth"), "clientSecret"
        ),
    ),
    email_domains=["example.com"],
    trusted_token_issuers=[TokenIssuer.gcloud()],
)
CfnOutput(stack, "MlflowUri", value=mlflow.url)
app.synth()
