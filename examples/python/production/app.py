from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk.aws_cloudwatch_actions import SnsAction
from aws_cdk.aws_ecs import Secret
from aws_cdk.aws_logs import RetentionDays
from aws_cdk.aws_route53 import HostedZone
from aws_cdk.aws_sns import Topic
from aws_cdk.aws_sns_subscriptions import EmailSubscription
from aws_cdk import aws_secretsmanager as secretsmanager
from cdk_secure_mlflow import AuthProvider, CleanUpOptions, DatabaseCapacity, SecureMlflow, TokenIssuer

# Replace domain, zone, client id, secret name and the address for alarms.
app = App()
stack = Stack(app, "MlflowProduction")
mlflow = SecureMlflow(
    stack,
    "Mlflow",
    desired_count=2,
    nat_gateways=2,  # one in each zone, so that one task still reaches the internet if a zone fails
    database_capacity=DatabaseCapacity(min_acus=0.5, max_acus=8),
    clean_up=CleanUpOptions(older_than=Duration.days(90)),
    log_retention=RetentionDays.ONE_YEAR,
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

alarms = Topic(stack, "Alarms")
alarms.add_subscription(EmailSubscription("mlflow-alarms@example.com"))
mlflow.add_monitoring(alarm_actions=[SnsAction(alarms)])

CfnOutput(stack, "MlflowUri", value=mlflow.url)
app.synth()
