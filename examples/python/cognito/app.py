from aws_cdk import App, CfnOutput, Stack
from aws_cdk import aws_iam as iam
from aws_cdk.aws_route53 import HostedZone
from cdk_secure_mlflow import AccessLevel, AccessMembers, AccessOptions, AuthProvider, SecureMlflow

# Replace domain, zone and issuer.
app = App()
stack = Stack(app, "MlflowCognito")
auth_provider = AuthProvider.cognito(machine_clients=["ci"])
mlflow = SecureMlflow(
    stack,
    "Mlflow",
    domain_name="mlflow.example.com",
    hosted_zone=HostedZone.from_hosted_zone_attributes(
        stack, "Zone", zone_name="example.com", hosted_zone_id="Z0123456789EXAMPLE"
    ),
    auth_provider=auth_provider,
    email_domains=["example.com"],
    aws_identity_issuer="https://00000000-0000-0000-0000-000000000000.tokens.sts.global.api.aws",
    access=AccessOptions(
        admins=AccessMembers(groups=["ml-admins"]),
        editors=AccessMembers(groups=["data-science"]),
        everybody=AccessLevel.READER,
    ),
)

# People in neither group are readers. Machines are editors unless they are given another level.
auth_provider.user_pool.add_group("Admins", group_name="ml-admins")
auth_provider.user_pool.add_group("Editors", group_name="data-science")

# Programs with the role of a training job may use the server. The secret contains the credentials for a machine outside AWS.
training_role = iam.Role(stack, "TrainingRole", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))
mlflow.grant_tracking_access(training_role)  # with level=AccessLevel.READER it could only read

CfnOutput(stack, "MlflowUri", value=mlflow.url)
CfnOutput(stack, "MlflowSignOut", value=mlflow.sign_out_url)
CfnOutput(stack, "UserPoolId", value=auth_provider.user_pool.user_pool_id)
CfnOutput(stack, "CiCredentials", value=auth_provider.machine_client_secret("ci").secret_name)
app.synth()
