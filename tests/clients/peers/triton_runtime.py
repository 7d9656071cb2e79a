"""What Triton's Python backend asks of a model, over a model of one input."""

import triton_python_backend_utils as triton


class Runtime:
    model = None

    def initialize(self, args):
        self.running = self.model()

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        rows = request.inputs()[0].as_numpy()
        wanted = request.requested_output_names()
        answers = self.running.predict(rows).items()
        return triton.InferenceResponse([triton.Tensor(name, value) for name, value in answers if name in wanted])
