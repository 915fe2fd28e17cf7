"""From PPO's objective to DPO's loss, in four steps (docs/specification.md, section 5; arXiv 2305.18290).

The notes' version puts the KL term into the reward that the optimal policy is an exponential of, and then has it twice;
and it prints the optimal policy where the trained one belongs. Both are put right here (errors 3.9 and 3.10).
"""

from __future__ import annotations

from postlude.facts.basics import CONCEPT
from postlude.facts.topic import Topic

STEP = "derivation"
SOURCE = "arXiv 2305.18290, appendix A; docs/specification.md, section 5"

DERIVATION = (
    Topic(
        "derivation of dpo",
        "why DPO needs no reward model",
        CONCEPT,
        "1. The objective of RLHF, reward minus beta times KL, has a best policy that can be written down. 2. Solved "
        "for "
        "the reward, it says: every policy is the best one for some reward. 3. Under Bradley-Terry only differences of "
        "rewards matter, so the part nobody can compute cancels. 4. What is left is the likelihood of the preferences "
        "as a function of the policy alone: a classification loss.",
        formula="max E[r] - beta KL\n"
        "1.  pi* = pi_ref exp(r/beta) / Z\n"
        "2.  r = beta log(pi*/pi_ref) + beta log Z\n"
        "3.  p(y_w better than y_l) = sigmoid(r_w - r_l)\n"
        "4.  loss = - mean log sigmoid(beta h)",
        source=SOURCE,
        see=("derivation 1", "derivation 2", "derivation 3", "derivation 4", "dpo"),
        words=("ppo to dpo", "why dpo works", "derivation", "closed form"),
        shows=("postlude explain derivation 1",),
    ),
    Topic(
        "derivation 1",
        "solve the KL-regularised objective",
        STEP,
        "Divide by -beta and gather everything under one logarithm. Z(x) sums what would have to be normalised; it "
        "does "
        "not depend on the policy, so adding and taking off log Z(x) changes nothing. What is left is a KL divergence, "
        "whose least value is 0, where both sides are equal: that is the optimal policy.\n\n"
        "r is the reward alone. The notes define it with the KL term inside, which counts the KL twice and makes the "
        "optimum depend on the policy it is the optimum for (corrected error 3.9).",
        formula="with pi, pi_ref, r for pi(y|x), pi_ref(y|x), r(x,y); y from pi:\n"
        "  max  E[ r - beta log(pi/pi_ref) ]\n"
        "= min  E[ log(pi/pi_ref) - r/beta ]              divided by -beta\n"
        "= min  E[ log( pi / (pi_ref exp(r/beta)/Z) ) - log Z ]\n"
        "= min  KL( pi || pi_ref exp(r/beta)/Z )          Z is constant\n"
        "so  pi* = pi_ref exp(r/beta) / Z\n"
        "    Z(x) = sum over y of pi_ref(y|x) exp( r(x,y)/beta )",
        source=SOURCE,
        place="objectives/contrast.py:Logistic",
        see=("derivation 2", "kl penalty", "error 3.9", "error 3.4"),
        words=("optimal policy", "partition function", "step 1"),
    ),
    Topic(
        "derivation 2",
        "solve for the reward",
        STEP,
        "Take the logarithm of the optimal policy and solve for r. Read the other way round: any policy is the optimum "
        "of some reward, and this is that reward, known up to a function of the prompt. It is DPO's implicit reward.",
        formula="log pi* = log pi_ref + r/beta - log Z(x)\nr(x,y) = beta log( pi*(y|x) / pi_ref(y|x) ) + beta log Z(x)",
        source=SOURCE,
        place="rewards/implicit.py:ImplicitReward",
        see=("derivation 1", "derivation 3", "implicit reward"),
        words=("reward reparameterised", "step 2"),
    ),
    Topic(
        "derivation 3",
        "put it into Bradley-Terry",
        STEP,
        "Bradley-Terry's fraction is a sigmoid of a difference; in the difference of two answers to one prompt beta "
        "log "
        "Z(x) is on both sides and cancels. Z, a sum over all texts, never has to be computed.",
        formula="p(y_w better than y_l | x) = exp(r_w) / ( exp(r_w) + exp(r_l) )\n"
        "                           = 1 / ( 1 + exp(r_l - r_w) )\n"
        "                           = sigmoid(r_w - r_l)\n"
        "r_w - r_l =   beta log( pi*(y_w|x) / pi_ref(y_w|x) )\n"
        "            - beta log( pi*(y_l|x) / pi_ref(y_l|x) )",
        source=SOURCE,
        place="objectives/contrast.py:Logistic",
        see=("derivation 2", "derivation 4", "bradley-terry"),
        words=("step 3",),
    ),
    Topic(
        "derivation 4",
        "maximum likelihood, and its gradient",
        STEP,
        "The preferences are data with a probability that depends on the policy: put the trained policy in the place "
        "of the optimal one (the notes leave the star, corrected error 3.10), and minimise the negative "
        "log-likelihood. Its "
        "gradient makes the chosen answer likelier and the rejected one less, weighted by how wrong the implicit "
        "reward still is: one number per pair.",
        formula="h =   sum over y_w of (lp - lp_ref)\n"
        "    - sum over y_l of (lp - lp_ref)\n"
        "loss     = - mean over pairs of log sigmoid( beta h )\n"
        "gradient = - beta * mean[ sigmoid(-beta h)\n"
        "                          * ( grad lp(y_w) - grad lp(y_l) ) ]\n"
        "as (log sigmoid(z))' = sigmoid(-z); lp(y) sums over y's tokens",
        healthy="log 2 = 0.693 at the start, where policy and reference are the same",
        source=SOURCE,
        place="objectives/contrast.py:Logistic",
        see=("derivation 3", "dpo", "rewards/accuracy", "error 3.10", "error 1.5", "error 1.6"),
        words=("dpo loss", "bce", "step 4", "dpo gradient"),
        shows=("postlude methods dpo",),
    ),
)
