"""One environment of the rehearsal: the commands of `infra/deploy`, and looks at its stack."""

from rehearsal import account, cli
from rehearsal.emulator import ACCOUNT

ISSUERS = '[{"issuer": "https://id.example.com/", "audience": "chat", "jwks_url": "https://id.example.com/jwks.json"}]'


class Failed(Exception):
    """A rehearsal that did not go as it has to go on AWS."""


class Stack:
    """The stack of an environment, deployed with the keys of its deploy role."""

    def __init__(self, emulator, tree, environment, work, smoke):
        self.emulator = emulator
        self.cloudformation = emulator.client("cloudformation")
        self.tree = tree
        self.environment = environment
        self.name = f"switchboard-{environment}"
        self.work = work / self.name
        self.smoke = smoke
        self.keys = account.assume(emulator, f"{self.name}-deploy", account.subjects(f"environment:{environment}")[0])

    def run(self, command, *arguments, keys=None, fails=False, standard_input=None, **variables):
        """Runs a command of `infra/deploy`, and returns its output. Fails unless it fails exactly if `fails`."""
        variables = {
            "ACCOUNT": ACCOUNT,
            "IMAGES": "",
            "JWT_ISSUERS": ISSUERS,
            "LOOKS": "2",
            "PARAMETERS": "",
            "PATH": cli.path(self.tree / "bin"),
            "PAUSE": "0",
            "SMOKE": str(self.smoke),
            "STAGE": self.environment,
            "WORK": str(self.work),
        } | variables
        done = self.emulator.run(
            self.tree / "infra/deploy",
            command,
            *arguments,
            keys=keys or self.keys,
            variables=variables,
            input=standard_input,
        )
        output = done.stdout + done.stderr
        if bool(done.returncode) != fails:
            raise Failed(f"infra/deploy {command} of {self.name} ended with {done.returncode}:\n{output.strip()}")
        return output

    def images(self, digests):
        """Returns digests as parameters."""
        return self.run("parameters", standard_input=digests).strip()

    def deploy(self, images, *parameters, issuers=ISSUERS):
        """Prepares and executes a change set, and returns the output of both."""
        said = self.run("prepare", IMAGES=images, PARAMETERS="\n".join(parameters), JWT_ISSUERS=issuers)
        return said + self.run("execute")

    def described(self):
        return self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]

    def expect(self, status):
        found = self.described()["StackStatus"]
        if found != status:
            raise Failed(f"{self.name} is {found}, not {status}")

    def parameters(self):
        return {one["ParameterKey"]: one["ParameterValue"] for one in self.described()["Parameters"]}

    def outputs(self):
        return {one["OutputKey"]: one["OutputValue"] for one in self.described()["Outputs"]}

    def resources(self):
        """Returns (logical id, type, physical id) of the stack's resources."""
        found = self.cloudformation.describe_stack_resources(StackName=self.name)["StackResources"]
        return [(one["LogicalResourceId"], one["ResourceType"], one.get("PhysicalResourceId", "")) for one in found]

    def variable(self, logical, name):
        """Returns a variable of a function's environment."""
        function = next(physical for one, _, physical in self.resources() if one == logical)
        found = self.emulator.client("lambda").get_function_configuration(FunctionName=function)
        return found["Environment"]["Variables"][name]
