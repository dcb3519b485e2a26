from harmony_jax.evaluation.tables import change_of_error, comparison_table


def test_table_shows_both_results_and_the_change():
    composite = {"HCOCO": {"N": 2.0, "MSE": 80.0, "fMSE": 900.0, "PSNR": 30.0}}
    model = {"HCOCO": {"N": 2.0, "MSE": 20.0, "fMSE": 222.5, "PSNR": 36.0}}
    for summary in (composite, model):
        summary["All"] = summary["HCOCO"]
    lines = comparison_table(model, composite).splitlines()
    assert lines[0].split() == ["composite", "model"]
    assert lines[1].split() == ["N", *["MSE", "fMSE", "PSNR"] * 2]
    numbers = ["80.00", "900.00", "30.00", "20.00", "222.50", "36.00"]
    assert lines[2].split() == ["HCOCO", "2", *numbers]
    assert "-75.0%" in lines[-1]


def test_composites_without_an_error_leave_nothing_to_compare_with():
    composite, model = ({"All": {"N": 1.0, "MSE": error}} for error in (0.0, 3.0))
    assert "over all images is - against" in change_of_error(model, composite)
