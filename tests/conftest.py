"""Shared fixtures. Tests import their neighbours as ``conformance.cases`` and the like."""

import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Tests and cases of parametrised ones that take five seconds or more, where their neighbours take one.
LONG = {
    "conformance/test_climbs.py": (
        "test_no_kept_pass_falls_and_converged_means_it[censored_normal]",
        "test_no_kept_pass_falls_and_converged_means_it[gaussian_hmm_full]",
        "test_no_kept_pass_falls_and_converged_means_it[gaussian_hmm_one_column]",
        "test_no_kept_pass_falls_and_converged_means_it[hmm_of_repeated_states]",
        "test_no_kept_pass_falls_and_converged_means_it[incomplete_mixture_full]",
        "test_no_kept_pass_falls_and_converged_means_it[mixture_EEV]",
        "test_no_kept_pass_falls_and_converged_means_it[motif_after_another]",
        "test_no_kept_pass_falls_and_converged_means_it[motif_any_number_both_strands]",
        "test_no_kept_pass_falls_and_converged_means_it[motif_of_proteins]",
        "test_no_kept_pass_falls_and_converged_means_it[negative_binomial_hmm]",
        "test_no_kept_pass_falls_and_converged_means_it[negative_binomial_mixture]",
    ),
    "conformance/test_conformance.py": (
        "test_promise[gaussian_hmm_spherical-ascent]",
        "test_promise[gaussian_hmm_spherical-errors]",
        "test_promise[gaussian_hmm_tied_with_prior-ascent]",
        "test_promise[gaussian_hmm_tied_with_prior-errors]",
        "test_promise[hmm_left_right-errors]",
        "test_promise[hmm_of_order_one-errors]",
        "test_promise[hmm_with_prior-errors]",
        "test_promise[incomplete_mixture_full-errors]",
        "test_promise[motif_of_proteins-errors]",
        "test_promise[negative_binomial_hmm-errors]",
        "test_promise[negative_binomial_mixture-ascent]",
        "test_promise[negative_binomial_mixture-errors]",
    ),
    "reference/test_impute_accuracy.py": (
        "test_stored_errors_are_those_of_these_masks[diabetes-MCAR-0.2]",
        "test_stored_errors_are_those_of_these_masks[pbc-MAR-0.4]",
    ),
    "reference/test_motif_peers.py": ("test_oops_places_the_sites_where_glam2_does",),
    "reference/test_never_silent.py": ("test_units_of_columns_do_not_matter[factors]",),
    "reference/test_series_peers.py": ("test_spread_counts_reach_the_maximum_that_r_reaches",),
    "unit/test_cell_types.py": (
        "test_a_type_of_two_cells",
        "test_components_are_computed_from_counts",
        "test_counts_taken_for_logarithms_are_said",
        "test_markers_and_a_reference_name_the_types",
        "test_round_trips_with_a_slash_in_a_type",
    ),
    "unit/test_certificate.py": ("test_the_estimate_of_the_gap_and_of_a_saddle",),
    "unit/test_checkpoint.py": (
        "test_a_resumed_fit_repeats_little",
        "test_every_interruption_ends_in_the_same_bytes[options0]",
        "test_every_interruption_ends_in_the_same_bytes[options2]",
    ),
    "unit/test_choose.py": (
        "test_a_search_far_behind_a_rival_ends_early",
        "test_the_number_of_factors_is_found[1]",
        "test_the_number_of_factors_is_found[4]",
    ),
    "unit/test_climb.py": ("test_gap_is_the_gain_still_to_come[False-1e-07]",),
    "unit/test_deconvolve.py": (
        "test_a_zarr_store_in_and_out",
        "test_command_and_python_give_the_same_bytes[more0-asked0]",
        "test_command_and_python_give_the_same_bytes[more1-asked1]",
        "test_command_and_python_give_the_same_bytes[more2-asked2]",
    ),
    "unit/test_diagnose.py": (
        "test_a_row_out_of_line_is_found_and_told",
        "test_few_rows_are_dealt_into_many_folds_and_told_so",
        "test_little_rejects_gaps_that_follow_another_marker_and_no_others",
        "test_observed_values_above_a_limit_are_judged_given_that",
        "test_values_below_zero_of_a_positive_marker_are_told",
    ),
    "unit/test_docs.py": (
        "test_code_of_the_page_on_size_runs",
        "test_examples_of_a_page_run_and_say_what_it_shows[docs/from/mclust.md]",
        "test_examples_of_a_page_run_and_say_what_it_shows[docs/from/scikit_learn.md]",
        "test_examples_of_a_page_run_and_say_what_it_shows[docs/howto/segment.md]",
    ),
    "unit/test_em_page.py": (
        "test_hard_and_soft_assignment_climb_different_hills",
        "test_shares_of_missing_cells_and_rates",
    ),
    "unit/test_examples.py": (
        "test_docstring_examples[emtools.kernels.truncated]",
        "test_docstring_examples[emtools.segmenting.field]",
    ),
    "unit/test_executors.py": (
        "test_a_dask_worker_killed_in_mid_fit_loses_nothing[one]",
        "test_fit_json_has_the_same_bytes_for_every_executor",
        "test_processes_work_from_a_script",
        "test_the_examples_of_the_how_to_run",
    ),
    "unit/test_factor_analysis.py": (
        "test_complete_data_agree_with_scikit_learn[3]",
        "test_gaps_are_filled_drawn_and_weighed_as_by_the_normal_of_its_covariance",
    ),
    "unit/test_fitting.py": (
        "test_auto_takes_t_for_heavy_tails_and_says_by_how_much",
        "test_filled_cells_of_factors_do_not_depend_on_units",
        "test_more_columns_than_rows_get_factors",
        "test_too_few_rows_are_said",
    ),
    "unit/test_hmm.py": (
        "test_one_letter_and_more_states_than_letters",
        "test_scaled_recursions_equal_log_space[5-20-400]",
    ),
    "unit/test_impute_cli.py": (
        "test_a_run_without_truth_takes_the_accuracy_of_the_earlier_one_away",
        "test_every_model_fills_draws_and_is_stored[mixture]",
        "test_limits_hold_and_ask_for_a_power",
        "test_values_below_zero_and_codes_are_told_once",
    ),
    "unit/test_impute_page.py": ("test_all_figures_and_the_page_of_a_table_with_limits",),
    "unit/test_laplace_uniform.py": ("test_the_profile_is_the_best_of_every_pair_of_order_statistics",),
    "unit/test_mixture_kernel.py": ("test_compiled_now_or_loaded_from_the_cache_it_gives_the_same_bits",),
    "unit/test_mixture_selection.py": ("test_the_truth_is_chosen[held_out]",),
    "unit/test_multiple.py": (
        "test_a_ridge_of_little_weight_leaves_posterior_draws_as_they_are_without_one",
        "test_complete_rows_give_the_noise_of_least_squares",
    ),
    "unit/test_predicting.py": (
        "test_over_imputation_refits_all_parts_and_does_not_see_the_cells",
        "test_units_and_seeds",
        "test_weights_of_rows_decide_too",
    ),
    "unit/test_progress.py": ("test_a_terminal_is_told_and_keeps_nothing_of_it",),
    "unit/test_scaling.py": ("test_markers_that_are_sums_on_one_scale_are_modelled_there",),
    "unit/test_search.py": ("test_a_search_finds_the_groups_from_every_seed_and_stays_within_its_budget",),
    "unit/test_segment.py": (
        "test_dark_objects_on_a_bright_ground_are_told_of",
        "test_labels_mean_the_same_for_every_seed[field-3]",
        "test_threads_cannot_change_a_byte",
    ),
    "unit/test_segment_batch.py": (
        "test_a_large_image_is_fitted_on_squares_and_predicted_part_by_part",
        "test_an_interrupted_batch_goes_on",
        "test_only_what_is_whole_is_kept",
    ),
    "unit/test_segment_table.py": (
        "test_boundaries_decide_a_million_points_as_the_classes_do",
        "test_objects_of_an_image_are_a_table",
        "test_threads_cannot_change_a_byte",
    ),
    "unit/test_stacked.py": ("test_draws_have_these_moments_and_keep_what_was_observed",),
    "unit/test_targets.py": ("test_a_ridge_towards_factors_keeps_what_they_leave",),
    "unit/test_variational_mixture.py": ("test_components_that_are_not_needed_are_left_empty",),
    "workflow/test_hmm_coding.py": (
        "test_known_genes_are_called_on_their_strand_and_in_their_frame[J]",
        "test_known_genes_are_called_on_their_strand_and_in_their_frame[O]",
        "test_known_genes_are_called_on_their_strand_and_in_their_frame[R]",
        "test_known_genes_are_called_on_their_strand_and_in_their_frame[cI]",
        "test_known_genes_are_called_on_their_strand_and_in_their_frame[int]",
        "test_segments_have_strands_and_whole_codons_without_a_stop",
    ),
    "workflow/test_hmm_command.py": (
        "test_a_ready_made_model_is_not_told_to_have_fewer_states",
        "test_planted_islands_are_called[cpg-8]",
        "test_states_and_order_are_chosen_by_bic",
        "test_states_of_words_are_not_taken_for_regions",
    ),
    "workflow/test_hmm_track_command.py": (
        "test_a_bigwig_says_what_the_bedgraph_says",
        "test_counts_have_levels_that_planted_ones_have",
        "test_coverage_that_varies_more_than_poisson_has_two_levels_and_not_more",
    ),
    "workflow/test_injection.py": (
        "test_columns_of_any_name_are_shown_as_text[deconvolve]",
        "test_columns_of_any_name_are_shown_as_text[impute]",
        "test_columns_of_any_name_are_shown_as_text[segment]",
    ),
    "workflow/test_motif_command.py": (
        "test_chance_is_said_and_kept_alone_and_untested_motifs_are_as_many_as_asked_for",
        "test_half_a_million_unknown_letters_hold_no_site",
        "test_motif_of_proteins",
        "test_same_bytes_again_with_other_threads",
    ),
    "workflow/test_rule_files.py": (
        "test_a_module_that_is_given_no_config_reads_one_that_must_be_plain",
        "test_another_workflow_uses_this_one_as_a_module",
        "test_the_config_of_a_workflow_around_this_one_is_its_own[evaluated]",
        "test_the_config_of_a_workflow_around_this_one_is_its_own[twice]",
    ),
    "workflow/test_runs.py": ("test_a_folder_of_images_is_one_job",),
    "workflow/test_scatter.py": (
        "test_starts_that_no_file_has_are_climbed_here",
        "test_the_same_bytes_scattered_and_not[motif]",
    ),
}
ABSENT = pytest.StashKey[list[str]]()

POINT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg==")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the long cases slow, before the marks are asked for, and note which names no test has."""
    long = {TESTS / file: set(names) for file, names in LONG.items()}
    collected = {item.path for item in items}
    absent = {path: set(names) for path, names in long.items() if path in collected or not path.exists()}
    for item in items:
        if item.name in long.get(item.path, ()):
            item.add_marker(pytest.mark.slow)
            absent[item.path].discard(item.name)
    config.stash[ABSENT] = sorted(f"{path.relative_to(TESTS)}: {name}" for path in absent for name in absent[path])


def sketch(figure: object, svg: Path, png: Path) -> None:
    """Stand in for `emtools.plots.style.render`: a picture of one point."""
    svg.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="1pt" height="1pt" viewBox="0 0 1 1"></svg>\n')
    png.write_bytes(POINT)


def surroundings() -> dict[str, object]:
    """What all tests of a process share: variables of the environment, the working directory, figures of pyplot."""
    shared: dict[str, object] = {f"${name}": value for name, value in os.environ.items()}
    shared.pop("$PYTEST_CURRENT_TEST", None)
    pyplot = sys.modules.get("matplotlib.pyplot")
    return shared | {"working directory": Path.cwd(), "open figures": pyplot.get_fignums() if pyplot else []}


def changed(before: dict[str, object]) -> list[str]:
    """Names of what is not as it was; packages that are imported set variables of their own, which are new."""
    now = surroundings()
    return sorted(name for name in before if now.get(name) != before[name])


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """A test leaves to those after it what it found."""
    before = surroundings()
    yield
    assert changed(before) == []


@pytest.fixture(autouse=True)
def sketched(request: pytest.FixtureRequest, unchanged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not rendered, which is half the time of a small run.

    They are rendered in tests marked ``rendered`` or ``slow``, and in what a whole module shares.
    """
    if not any(request.node.get_closest_marker(name) for name in ("rendered", "slow")):
        monkeypatch.setattr("emtools.plots.style.render", sketch)
