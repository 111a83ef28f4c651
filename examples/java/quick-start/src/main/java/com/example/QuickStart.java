package com.example;

import io.github.cdksecuremlflow.AuthProvider;
import io.github.cdksecuremlflow.GoogleAuthProviderOptions;
import io.github.cdksecuremlflow.SecureMlflow;
import io.github.cdksecuremlflow.TokenIssuer;
import java.util.List;
import software.amazon.awscdk.App;
import software.amazon.awscdk.CfnOutput;
import software.amazon.awscdk.Stack;
import software.amazon.awscdk.services.ecs.Secret;
import software.amazon.awscdk.services.route53.HostedZone;
import software.amazon.awscdk.services.route53.HostedZoneAttributes;

public class QuickStart {
    public static void main(String[] args) {
        // Replace domain, zone, client id, e-mail domains and secret name.
        App app = new App();
        Stack stack = new Stack(app, "MlflowQuickStart");
        SecureMlflow mlflow = SecureMlflow.Builder.create(stack, "Mlflow")
            .domainName("mlflow.example.com")
            .hostedZone(HostedZone.fromHostedZoneAttributes(stack, "Zone", HostedZoneAttributes.builder()
                .zoneName("example.com")
                .hostedZoneId("Z0123456789EXAMPLE")
                .build()))
            .authProvider(AuthProvider.google(GoogleAuthProviderOptions.builder()
                .clientId("1234.apps.googleusercontent.com")
                .clientSecret(Secret.fromSecretsManager(
                    software.amazon.awscdk.services.secretsmanager.Secret.fromSecretNameV2(stack, "OAuth", "mlflow/oauth"),
                    "clientSecret"))
                .build()))
            .emailDomains(List.of("example.com"))
            .trustedTokenIssuers(List.of(TokenIssuer.gcloud()))
            .build();
        CfnOutput.Builder.create(stack, "MlflowUri").value(mlflow.getUrl()).build();
        app.synth();
    }
}
