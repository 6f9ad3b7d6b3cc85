"""What stops a start. These never travel over HTTP: they are sentences for the person at the terminal."""


class LaunchError(Exception):
    """`message` says what is wrong, `fix` what to do about it."""

    def __init__(self, message: str, *, fix: str) -> None:
        super().__init__(f"{message} {fix}")
        self.message = message
        self.fix = fix
