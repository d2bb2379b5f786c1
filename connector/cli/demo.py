"""The demo."""


class Demo: ...
